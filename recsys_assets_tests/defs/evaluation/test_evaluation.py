"""Test the evaluation assets in order, on a simulated window with linear models."""

from __future__ import annotations

from types import SimpleNamespace

import dagster as dg
import pytest

from recsys_assets import partitions
from recsys_assets.lib.evaluation.chance import chance_auc
from recsys_assets.lib.evaluation.session_moves import verdict
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import Settings, get_settings
from recsys_assets_tests.support import small_models, small_window

# the assets' calendar is the session's: it is fixed when they are imported
AS_OF = partitions.first_as_of(get_settings())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Return a home with a simulated window and linear models."""
    settings = Settings(
        home=tmp_path_factory.mktemp("evaluation"),
        start_day=partitions.calendar_start(get_settings()),
        seed=5,
        retrieval_topk=30,
        ranking_topk=10,
    )

    class HomePlatform(Platform):
        @property
        def settings(self) -> Settings:
            return settings

    store = small_window.write_window(settings, AS_OF)
    small_window.write_generation(store, AS_OF)
    return SimpleNamespace(settings=settings, store=store, platform=HomePlatform())


def run(home: SimpleNamespace, name: str, **config: object) -> dg.ExecuteInProcessResult:
    """Materialise one asset."""
    from recsys_assets.defs.evaluation import offline, oracle, queries
    from recsys_assets.defs.features import seen_rule

    asset = {
        "seen_rule": seen_rule.seen_rule,
        "queries": queries.queries,
        "oracle": oracle.oracle,
        "offline": offline.offline,
    }[name]
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [asset],
            resources={"platform": home.platform},
            partition_key=AS_OF,
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {asset.op.name: {"config": config}}} if config else None,
        )


def metadata(result: dg.ExecuteInProcessResult) -> dict:
    """Return the metadata of a materialisation as plain values."""
    [event] = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


@pytest.fixture(scope="module")
def evaluated(home: SimpleNamespace) -> dict[str, dg.ExecuteInProcessResult]:
    """Return asset → its run."""
    assert run(home, "seen_rule").success
    queries = run(home, "queries")
    small_models.publish_plain_blends(home.store, AS_OF, 1)
    return {"queries": queries, **{name: run(home, name) for name in ("oracle", "offline")}}


def test_they_publish_what_the_report_reads(
    home: SimpleNamespace, evaluated: dict[str, dg.ExecuteInProcessResult]
) -> None:
    assert evaluated["queries"].success and evaluated["oracle"].success
    queries, oracle, offline = (
        home.store.current(f"evaluation/{name}", AS_OF) for name in evaluated
    )
    assert {"queries.parquet", "seen.npz", "items.parquet"} <= set(queries.manifest["files"])
    assert (
        oracle.metrics["available"]
        and oracle.metrics["auc"] > 0.65
        and "lists.npz" in oracle.manifest["files"]
    )
    assert {
        "served",
        "retrieval",
        "slices",
        "slices_retrieval",
        "beyond_accuracy",
        "ranker",
    } <= set(offline.metrics)
    assert offline.metrics["queries"] == queries.metrics["queries"]
    assert metadata(evaluated["queries"])["dagster/row_count"] == queries.metrics["rows"]


def test_the_ui_plots_the_headline_and_the_artifact_keeps_the_slices(
    home: SimpleNamespace, evaluated: dict[str, dg.ExecuteInProcessResult]
) -> None:
    shown = metadata(evaluated["offline"])
    assert (
        shown["served ndcg@10"]
        == home.store.current("evaluation/offline", AS_OF).metrics["served"]["ndcg@10"]["value"]
    )
    assert (
        not [name for name in shown if name.startswith(("slices known_users", "session_moves"))]
        and "known_users" in shown["slices table"]
    )
    assert "| 5 outside |" in shown["session moves table"]


def test_models_that_were_never_trained_are_warned_of(
    home: SimpleNamespace, evaluated: dict[str, dg.ExecuteInProcessResult]
) -> None:
    """Linear models of random weights: what chance gives at that size only warns."""
    assert evaluated["offline"].success
    checks = {
        check.check_name: check for check in evaluated["offline"].get_asset_check_evaluations()
    }
    assert set(checks) == {"recall_above_popularity", "auc", "session_moves"}
    metrics = home.store.current("evaluation/offline", AS_OF).metrics
    auc, rows, rate = (metrics["ranker"][name] for name in ("auc", "rows", "click_rate"))
    bound = chance_auc(round(rows * rate), round(rows * (1 - rate)))
    judged = checks["auc"].metadata
    assert judged["value"].value == auc and judged["threshold"].value == pytest.approx(bound)
    assert checks["auc"].passed == (auc > bound)
    difference = metrics["retrieval_minus_popularity"]
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert checks["recall_above_popularity"].passed == (difference["high"] >= 0)
    passed, found = verdict(metrics["session_moves"], metrics["items"])
    assert checks["session_moves"].passed == passed
    assert checks["session_moves"].metadata["value"].value == found
    assert all(
        not check.blocking and check.severity == dg.AssetCheckSeverity.WARN
        for check in checks.values()
    )


def test_what_is_there_is_reused_until_something_changes(
    home: SimpleNamespace, evaluated: dict[str, dg.ExecuteInProcessResult]
) -> None:
    before = home.store.current("evaluation/queries", AS_OF)
    assert metadata(run(home, "queries"))["reused"] and metadata(run(home, "oracle"))["reused"]
    limited = run(home, "queries", limit=40)
    assert (
        not metadata(limited)["reused"]
        and home.store.current("evaluation/queries", AS_OF).metrics["sampled_clicks"] <= 40
    )
    assert not metadata(run(home, "oracle"))["reused"]  # other queries, other lists
    assert metadata(run(home, "queries"))["reused"]
    assert home.store.current("evaluation/queries", AS_OF).digest == before.digest


def test_the_seen_rule_shows_its_reason(
    home: SimpleNamespace, evaluated: dict[str, dg.ExecuteInProcessResult]
) -> None:
    """The simulated shop hides what was bought; the queries were made by that rule."""
    shown = metadata(run(home, "seen_rule"))
    assert shown["rule"] == "Purchase in the last 7 days" and shown["reused"]
    assert "higher than with the rule" in shown["reason"] and "| nDCG@10" in shown["rules table"]
    queries = home.store.current("evaluation/queries", AS_OF)
    rule = home.store.current("features/seen_rule", AS_OF)
    assert queries.manifest["inputs"]["seen_rule"]["digest"] == rule.digest
    assert queries.metrics["seen_rule"] == shown["rule"]


def test_values_are_an_input_of_the_queries_only_where_they_are_set(
    home: SimpleNamespace, evaluated: dict[str, dg.ExecuteInProcessResult]
) -> None:
    """Last: it makes other queries. The simulated shop has carts and purchases."""
    plain = home.store.current("evaluation/queries", AS_OF)
    assert "values" not in plain.manifest["inputs"] and "mean_value" not in plain.metrics
    assert not home.store.exists("features/click_values", AS_OF)

    settings = home.settings.model_copy(
        update={"event_values": "View=1,AddToCart=4,Purchase=10*price"}
    )

    class ValuedPlatform(Platform):
        @property
        def settings(self) -> Settings:
            return settings

    valued = SimpleNamespace(settings=settings, store=home.store, platform=ValuedPlatform())
    first = run(valued, "queries")
    values = home.store.current("features/click_values", AS_OF)
    queries = home.store.current("evaluation/queries", AS_OF)
    assert values.manifest["params"] == {"event_values": settings.event_values}
    assert queries.manifest["inputs"]["values"]["digest"] == values.digest
    assert queries.metrics["mean_value"] > 1 and queries.digest != plain.digest
    shown = metadata(first)
    assert "| Purchase | 10*price |" in shown["event values"]
    assert shown["mean value of a click"] == values.metrics["mean_value"]
    # all that the metrics of the served lists need
    offline = run(valued, "offline")
    assert offline.success
    figures = home.store.current("evaluation/offline", AS_OF).metrics["served"]
    assert 0 <= figures["value_ndcg@10"]["value"] != figures["ndcg@10"]["value"]
    assert metadata(offline)["served value_ndcg@10"] == figures["value_ndcg@10"]["value"]
    assert "value_ndcg@10" in metadata(offline)["lists table"]
    # the default again: what was built without values is reused
    assert run(home, "queries").success
    assert home.store.current("evaluation/queries", AS_OF).digest == plain.digest
