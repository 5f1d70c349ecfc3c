"""The evaluation's assets on a simulated window and linear models: one run, looked at from all
sides.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.evaluation import list_metrics, offline, ranker_metrics, session_moves
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.local_time import UTC
from recsys_assets.partitions import previous_day, validation_days, window_days
from recsys_assets.settings import Settings
from recsys_assets_tests.support import small_window

AS_OF = "2026-11-19"
ROLES = {
    "models": "exports/onnx",
    "vectors": "retrieval/item_vectors",
    "aligned": "embeddings/aligned",
    "workflows": "features/workflows",
}
WEIGHT = 2.5


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ArtifactStore:
    store = small_window.write_window(
        Settings(home=tmp_path_factory.mktemp("report"), seed=5), AS_OF
    )
    small_window.write_generation(store, AS_OF)
    queries = Queries.build(
        store.require("features/interactions", validation_days(AS_OF)),
        store.require("raw/interactions", window_days(AS_OF)),
        store.current("raw/items"),
        seed=7,
        rule=DEFAULT_RULE,
        zone=UTC,
    )
    with store.stage("evaluation/queries", AS_OF) as staged:
        staged.publish(queries.write(staged.path))
    return store


def inputs(store: ArtifactStore) -> dict:
    days = validation_days(AS_OF)
    return {
        "features": store.require("features/interactions", days),
        "days_before": store.require("features/interactions", [previous_day(day) for day in days]),
        **{role: store.current(kind, AS_OF) for role, kind in ROLES.items()},
    }


@pytest.fixture(scope="module")
def report(store):
    with store.stage("evaluation/offline", AS_OF) as staged:
        metrics = offline.write_report(
            **inputs(store),
            queries=store.current("evaluation/queries", AS_OF),
            target=staged.path,
            seed=7,
            retrieval_topk=30,
            retrieval_weight=WEIGHT,
        )
        return staged.publish(metrics)


def test_the_metrics_are_those_of_the_lists(store, report):
    metrics, queries = report.metrics, Queries.read(store.current("evaluation/queries", AS_OF))
    assert offline.read_metrics(report) == metrics
    for name, slices in (("served", "slices"), ("retrieval", "slices_retrieval")):
        lists = list_metrics.Lists.read(report, name)
        assert len(lists.ranks) == len(queries) and metrics[name] == list_metrics.judge(
            lists.ranks, queries, 7
        )
        assert metrics[slices] == list_metrics.judge_slices(lists.ranks, queries, 7)
        assert 0 < metrics["beyond_accuracy"][name]["coverage@10"] <= 1
    assert set(offline.HEADLINE) <= set(metrics)
    assert (
        metrics["queries"] == queries.overall.sum() < len(queries)
        and metrics["slices"]["cold_users"]["simulated"]
    )
    popular = list_metrics.run(list_metrics.SameForAll("popularity", queries.clicks), queries)
    assert metrics["popularity"] == list_metrics.judge(popular.ranks, queries, 7)
    assert not np.array_equal(
        list_metrics.Lists.read(report, "served").ranks,
        list_metrics.Lists.read(report, "retrieval").ranks,
    )
    for name in ("lists_table", "slices_table", "recall@100", "reliability"):
        assert report.path(f"figures/{name}.md").read_text()


def test_the_report_shows_how_far_clicks_move_the_served_list(store, report):
    queries = Queries.read(store.current("evaluation/queries", AS_OF))
    asked = session_moves.session_queries(queries)
    moves = report.metrics["session_moves"]
    for clicks in session_moves.CLICKS:
        assert moves["all"][str(clicks)]["queries"] == (asked.clicks == clicks).sum()
    assert moves["all"]["1"]["queries"] > session_moves.LEAST_QUERIES
    now = list_metrics.Lists.read(report, "served").ranks[asked.rows]
    one = asked.clicks == 1
    ndcg = list_metrics.point(now[one], queries.users[asked.rows][one])
    assert moves["all"]["1"]["after"]["value"] == pytest.approx(ndcg)
    assert 0 <= moves["all"]["1"]["changed"]["value"] <= 10
    table = report.path("figures/session_moves_table.md").read_text()
    assert "| 1 all |" in table and "bootstraps by visitor" in table


def test_the_ranker_is_judged_on_every_exposure(store, report):
    given = inputs(store)
    exposures = pl.concat([pl.read_parquet(a.path("features.parquet")) for a in given["features"]])
    generation = Generation.of_training(
        **{role: given[role] for role in (*ROLES, "days_before")}, retrieval_weight=WEIGHT
    )
    clicks, scores = exposures["click"].to_numpy(), generation.click_scores(exposures)
    found = report.metrics["ranker"]
    assert (
        found["auc"] == pytest.approx(ranker_metrics.auc(clicks, scores))
        and found["rows"] == exposures.height == report.metrics["rows"]
    )
    assert found["calibration_error"] == pytest.approx(
        ranker_metrics.calibration_error(found["reliability"])
    )


def test_served_lists_hold_what_retrieval_hands_on(store, report):
    """No list shows more than retrieval_topk items, none of them seen."""
    queries = Queries.read(store.current("evaluation/queries", AS_OF))
    generation = Generation.of_training(
        **{role: inputs(store)[role] for role in (*ROLES, "days_before")},
        retrieval_weight=WEIGHT,
        retrieval_topk=30,
    )
    rows = np.arange(len(queries))
    shown = generation.served.scores(queries, rows) > -np.inf
    assert (shown.sum(axis=1) == 30).all() and not (shown & queries.seen(rows)).any()
    retrieved = list_metrics.highest(
        queries.mask(generation.retrieval.scores(queries, rows), rows), 30
    )
    assert all(set(np.flatnonzero(shown[q])) == set(retrieved[q]) for q in rows)
    ranks = list_metrics.Lists.read(report, "served").ranks
    assert ((ranks <= 30) | (ranks == queries.items + 1)).all()


def test_content_of_the_catalogue_in_its_own_order(store):
    given = inputs(store)
    queries = Queries.read(store.current("evaluation/queries", AS_OF))
    generation = Generation.of_training(
        **{role: given[role] for role in (*ROLES, "days_before")}, retrieval_weight=WEIGHT
    )
    content = offline.content_vectors(generation, queries)
    row = 5
    index = generation.transform.transforms.vocabulary["item_id"].index(queries.item_ids[row])
    np.testing.assert_array_equal(content[row], generation.table[index])
    generation.item_ids = np.array(["other"] * len(generation.item_ids))
    assert not offline.content_vectors(generation, queries).any()


def test_two_runs_give_equal_metrics(store, report, tmp_path):
    again = offline.write_report(
        **inputs(store),
        queries=store.current("evaluation/queries", AS_OF),
        target=tmp_path,
        seed=7,
        retrieval_topk=30,
        retrieval_weight=WEIGHT,
    )
    assert again == report.metrics


def test_a_log_of_clicks_alone_is_judged_by_its_lists(store, report, tmp_path):
    given = inputs(store)
    clicks = []
    for artifact in given["features"]:
        with ArtifactStore(tmp_path / "clicks").stage(
            "features/interactions", artifact.partition
        ) as staged:
            pl.read_parquet(artifact.path("features.parquet")).filter(
                pl.col("click") == 1
            ).write_parquet(staged.path / "features.parquet")
            clicks.append(staged.publish())
    found = offline.write_report(
        **{**given, "features": clicks},
        queries=store.current("evaluation/queries", AS_OF),
        target=tmp_path,
        seed=7,
        retrieval_topk=30,
        retrieval_weight=WEIGHT,
    )
    assert found["served"] == report.metrics["served"]
    assert (
        found["ranker"]["auc"] is None
        and found["ranker"]["reliability"] == []
        and found["ranker"]["click_rate"] == 1
    )
    assert not (tmp_path / "figures" / "reliability.md").exists()


def test_without_a_query_there_are_no_figures_of_lists(store, tmp_path):
    asked = Queries.read(store.current("evaluation/queries", AS_OF)).subset(np.zeros(0, np.int64))
    with ArtifactStore(tmp_path / "none").stage("evaluation/queries", AS_OF) as staged:
        none = staged.publish(asked.write(staged.path))
    found = offline.write_report(
        **inputs(store),
        queries=none,
        target=tmp_path,
        seed=7,
        retrieval_topk=30,
        retrieval_weight=WEIGHT,
    )
    assert found["served"] == found["retrieval"] == found["popularity"] == {} == found["slices"]
    assert found["retrieval_minus_popularity"] is None and found["random"]
    assert found["beyond_accuracy"] == {"served": {}, "retrieval": {}}
    # the exposures are judged all the same
    assert 0 < found["ranker"]["auc"] < 1
