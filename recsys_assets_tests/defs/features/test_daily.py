"""Test the daily assets: good days pass; bad days fail and publish nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.columns import (
    ARRIVED_INTERACTIONS,
    INTERACTION_FEATURES,
    RAW_INTERACTIONS,
    RAW_ITEMS,
    RAW_USERS,
)
from recsys_assets.defs.features import daily
from recsys_assets.defs.raw import interactions
from recsys_assets.lib.release.champion import Champion, champion_path
from recsys_assets.lib.simulator import shop as simulator
from recsys_assets.settings import get_settings
from recsys_assets_tests.support.daily_home import DAYS, Home


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with three simulated days; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("shop")
    simulator.simulate(folder / "landing", "tiny", DAYS, seed=3)
    return folder


@pytest.fixture(scope="module")
def stocked_shop(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a shop with users and items materialised."""
    home = Home(tmp_path_factory.mktemp("stocked"), shop)
    assert home.run("users").success and home.run("items").success
    return home.settings.home


@pytest.fixture(scope="module")
def begun_shop(stocked_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a shop with the first day's interactions materialised."""
    home = Home(tmp_path_factory.mktemp("begun"), stocked_shop)
    assert home.run("interactions", DAYS[0]).success
    return home.settings.home


@pytest.fixture
def home(tmp_path: Path, shop: Path) -> Home:
    """Return a copy of the shop."""
    return Home(tmp_path, shop)


@pytest.fixture
def stocked(tmp_path: Path, stocked_shop: Path) -> Home:
    """Return a home with users and items materialised."""
    return Home(tmp_path, stocked_shop)


@pytest.fixture
def begun(tmp_path: Path, begun_shop: Path) -> Home:
    """Return a home with users, items and the first day's interactions materialised."""
    return Home(tmp_path, begun_shop)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Return check → whether it passed."""
    return {
        evaluation.check_name: evaluation.passed
        for evaluation in result.get_asset_check_evaluations()
    }


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetMaterialization]:
    """Return asset → its materialisation."""
    events = [e for e in result.all_events if e.event_type_value == "ASSET_MATERIALIZATION"]
    return {"/".join(e.asset_key.path): e.step_materialization_data.materialization for e in events}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Return the error message of the failed step."""
    event = next(e for e in result.all_events if e.event_type_value == "STEP_FAILURE")
    data = event.step_failure_data
    return (
        data.user_failure_data.description if data.user_failure_data else None
    ) or data.error.cause.message


FEATURE_CHECKS = {"contract": True, "point_in_time": True, "drift": True}


def test_a_good_day_passes_with_its_figures(stocked: Home) -> None:
    for day in DAYS:
        done = stocked.run("interactions", day)
        assert done.success and checks(done) == {"contract": True, "volume": True}
        raw = materialized(done)["raw/interactions"].metadata
        done = stocked.run("features", day)
        assert (
            done.success
            and checks(done).keys() == FEATURE_CHECKS.keys()
            and checks(done) | {"drift": True} == FEATURE_CHECKS
        )
        masked = stocked.run("masked", day)
        assert masked.success and checks(masked) == {"contract": True, "masked_share": True}
    features = materialized(done)["features/interactions"].metadata
    assert features["dagster/row_count"].value > 100 and 0.05 < features["click_rate"].value < 0.5
    assert features["dagster/column_schema"].value.columns[0].name == "event_id"
    assert 0 <= raw["new_users"].value < 300 and raw["quarantined"].value == {}
    for metadata in (raw, features):
        assert metadata["distributions"].value.startswith("![Share of")
        assert metadata["top categories"].value.startswith(
            "| category_l1 | exposures | share | clicks | click_rate |"
        )


def test_new_visitors_are_those_of_no_day_before(stocked: Home) -> None:
    seen: set[str] = set()
    for day in DAYS:
        today = set(pl.read_parquet(stocked.landing(day) / "simulated.parquet")["user_id"])
        metadata = materialized(stocked.run("interactions", day))["raw/interactions"].metadata
        assert metadata["new_users"].value == len(today - seen)
        seen |= today


def test_the_same_partition_twice_is_the_same_bytes_and_reused(stocked: Home) -> None:
    first, second = (
        materialized(stocked.run("interactions", DAYS[0]))["raw/interactions"] for _ in range(2)
    )
    assert first.tags["dagster/data_version"] == second.tags["dagster/data_version"]
    assert second.metadata["reused"].value is True


def test_another_look_back_is_another_version(stocked: Home) -> None:
    """A change of the setting builds the features again, and back again reuses the first."""
    for day in DAYS:
        assert stocked.run("interactions", day).success
    found: dict[int, list[Artifact]] = {}
    for look_back_days in (7, 1, 7):
        stocked.settings.look_back_days = look_back_days
        done = stocked.run("features", DAYS[-1])
        assert done.success, failure(done)
        made = stocked.store.current("features/interactions", DAYS[-1])
        assert made.manifest["params"]["look_back_days"] == look_back_days
        assert len(made.manifest["inputs"]["interactions"]) == min(look_back_days, 2) + 1
        found.setdefault(look_back_days, []).append(made)
    again = found[7][1]
    assert again.uri == found[7][0].uri != found[1][0].uri
    clicks = [
        pl.read_parquet(one.path("features.parquet"))["clicks_look_back"].sum()
        for one in (found[1][0], again)
    ]
    assert 0 < clicks[0] < clicks[1]


def test_days_in_another_order_are_the_same_bytes(
    stocked: Home, stocked_shop: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Home(tmp_path_factory.mktemp("other"), stocked_shop)
    for home, order in ((stocked, DAYS), (other, [DAYS[1], DAYS[0], DAYS[2]])):
        for name in ("interactions", "features"):
            for day in order:
                assert home.run(name, day).success
    for kind in ("raw/interactions", "features/interactions"):
        assert [stocked.store.current(kind, day).digest for day in DAYS] == [
            other.store.current(kind, day).digest for day in DAYS
        ]


def test_a_column_of_the_future_is_tolerated_and_counted(stocked: Home) -> None:
    stocked.rewrite(DAYS[0], lambda f: f.with_columns(pl.lit("spring").alias("campaign")))
    done = stocked.run("interactions", DAYS[0])
    assert checks(done) == {"contract": True, "volume": True}
    assert materialized(done)["raw/interactions"].metadata["extra_columns campaign"].value == 1
    assert (
        "campaign"
        not in pl.read_parquet(
            stocked.store.current("raw/interactions", DAYS[0]).path("interactions.parquet")
        ).columns
    )


def _rewrite(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], object]:
    return lambda file: change(pl.read_parquet(file)).write_parquet(file)


def _set(column: str, rows: int, value: object) -> Callable[[Path], object]:
    return _rewrite(
        lambda f: f.with_columns(
            pl.when(pl.int_range(pl.len()) < rows)
            .then(pl.lit(value))
            .otherwise(pl.col(column))
            .cast(f.schema[column])
            .alias(column)
        )
    )


#: Line 10 of must-survive: what happens to the day's file → what the failed check must name beside
#: the file.
BAD_DAYS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "truncated": (
        lambda file: file.write_bytes(file.read_bytes()[:-100]),
        ["not a readable Parquet file", "(1)"],
    ),
    "cut in half": (
        lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
        ["not a readable Parquet file"],
    ),
    "without a byte": (lambda file: file.write_bytes(b""), ["not a readable Parquet file"]),
    "missing column": (
        _rewrite(lambda f: f.drop("device_type")),
        ["'device_type': column is missing"],
    ),
    "wrong type": (
        _rewrite(lambda f: f.with_columns(pl.col("timestamp").cast(pl.Float64))),
        ["'timestamp': type is Float64, not Int64"],
    ),
    "another table": (
        _rewrite(lambda f: pl.DataFrame({"a": [1]})),
        [f"'{name}': column is missing" for name in RAW_INTERACTIONS],
    ),
    "rows twice": (_rewrite(lambda f: pl.concat([f, f.head(5)])), ["'event_id': duplicated (5)"]),
    "file twice": (
        lambda file: shutil.copy(file, file.with_name("again.parquet")),
        ["duplicated: the same bytes as again.parquet"],
    ),
    **{f"null {name}": (_set(name, 7, None), [f"'{name}': null (7)"]) for name in RAW_INTERACTIONS},
    "empty user": (_set("user_id", 2, ""), ["'user_id': empty (2)"]),
    "of another day": (
        _rewrite(lambda f: f.with_columns(pl.col("timestamp") + 86_400 * 3)),
        [f"'timestamp': outside the day {DAYS[1]}"],
    ),
    "unknown device": (
        _set("device_type", 4, "toaster"),
        ["'device_type': unknown value", "(4), for example 'toaster'"],
    ),
    "unknown event": (
        _set("event_type", 3, "Teleport"),
        ["'event_type': unknown value", "(3), for example 'Teleport'"],
    ),
    "unknown item": (
        _set("item_id", 6, "no-such-product"),
        ["'item_id': not in the catalogue (raw/items)", "(6), for example 'no-such-product'"],
    ),
    "unknown label": (_set("click", 5, 2), ["'click': unknown value", "(5)"]),
    "labels turned round": (
        _rewrite(lambda f: f.with_columns((1 - pl.col("click")).alias("click"))),
        ["'click': contradicts the event type"],
    ),
}


def nothing_of_the_day_exists(home: Home, done: dg.ExecuteInProcessResult, day: str) -> None:
    """Check that the run published nothing, and that downstream alone fails."""
    assert not done.success and materialized(done) == {}
    for kind in ("raw/interactions", "features/interactions", "features/masked_train"):
        assert day not in home.store.partitions(kind)
    for name in ("features", "masked"):
        by_hand = home.run(name, day)
        assert not by_hand.success and day in failure(by_hand)


@pytest.mark.parametrize("name", BAD_DAYS)
def test_a_bad_day_fails_its_check_and_nothing_downstream_runs(begun: Home, name: str) -> None:
    damage, named = BAD_DAYS[name]
    damage(begun.landing(DAYS[1]) / "simulated.parquet")
    done = begun.run_all(["interactions", "features", "masked"], DAYS[1])
    assert checks(done) == {"contract": False}
    [evaluation] = done.get_asset_check_evaluations()
    for told in (failure(done), "\n".join(evaluation.metadata["failures"].value)):
        assert all(word in told for word in ["simulated.parquet", *named]), told
    nothing_of_the_day_exists(begun, done, DAYS[1])


def test_a_later_time_of_the_open_day_is_a_future_time(
    stocked: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys_assets.defs.raw import interactions

    noon = partitions.day_bounds(DAYS[0])[0] + 43_200
    monkeypatch.setattr(interactions, "time", SimpleNamespace(time=lambda: noon))
    late = (
        pl.read_parquet(stocked.landing(DAYS[0]) / "simulated.parquet")
        .filter(pl.col("timestamp") > noon + 300)
        .height
    )
    done = stocked.run("interactions", DAYS[0])
    assert checks(done) == {
        "contract": False
    } and f"'timestamp': in the future ({late})" in failure(done)


TEN_TIMES = {
    "ten times": (
        lambda f: pl.concat([f.with_columns(pl.col("event_id") + f"-{n}") for n in range(10)]),
        10,
    ),
    "a tenth": (lambda f: f.gather_every(10), 0.1),
}


def serve(home: Home) -> None:
    """Let a release be in force."""
    champion = Champion(1, 1, "", {}, 0, [], [])
    champion_path(home.settings).parent.mkdir()
    champion_path(home.settings).write_text(json.dumps(asdict(champion)))


def volume_of(done: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    """Return the check ``volume`` of a run."""
    return next(e for e in done.get_asset_check_evaluations() if e.check_name == "volume")


@pytest.mark.parametrize("name", TEN_TIMES)
def test_another_volume_publishes_nothing_unless_it_is_accepted(begun: Home, name: str) -> None:
    """The newest day of a shop that is served."""
    serve(begun)
    assert begun.run("interactions", DAYS[1]).success
    change, times = TEN_TIMES[name]
    begun.rewrite(DAYS[2], change)
    done = begun.run_all(["interactions", "features", "masked"], DAYS[2])
    assert checks(done) == {"contract": True, "volume": False}
    volume = volume_of(done).metadata
    assert volume["ratio"].value == pytest.approx(times, rel=0.5)
    low, high = volume["threshold"].value
    assert not low <= volume["value"].value <= high
    rows = pl.read_parquet(begun.landing(DAYS[2]) / "simulated.parquet").height
    command = f"recsys ingest-day {DAYS[2]} --accept-volume {DAYS[2]}"
    assert all(
        word in failure(done)
        for word in [
            "simulated.parquet",
            f"({rows} rows)",
            "event_type",
            f"accept_volume: ['{DAYS[2]}']",
            command,
        ]
    )
    nothing_of_the_day_exists(begun, done, DAYS[2])
    assert not begun.run("interactions", DAYS[2], accept_volume=[DAYS[1]]).success
    accepted = begun.run("interactions", DAYS[2], accept_volume=[DAYS[2]])
    assert accepted.success and checks(accepted) == {"contract": True, "volume": True}
    assert volume_of(accepted).metadata["accepted_by_hand"].value is True
    assert begun.run("features", DAYS[2]).success
    # the same files again are the day that was accepted
    again = begun.run("interactions", DAYS[2])
    assert again.success and volume_of(again).severity == dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize("name", TEN_TIMES)
def test_another_volume_warns_where_nothing_is_served_and_on_earlier_days(
    begun: Home, name: str
) -> None:
    begun.rewrite(DAYS[1], TEN_TIMES[name][0])
    first = begun.run("interactions", DAYS[1])
    assert first.success and checks(first) == {"contract": True, "volume": False}
    serve(begun)  # DAYS[2] has landed, so DAYS[1] is not the newest day
    again = begun.run("interactions", DAYS[1])
    assert again.success and checks(again) == {"contract": True, "volume": False}
    assert volume_of(again).severity is dg.AssetCheckSeverity.WARN


def test_a_range_of_days_is_one_run_with_each_day_s_own_figures(stocked: Home) -> None:
    stocked.rewrite(DAYS[1], lambda f: f.head(3))
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [interactions.interactions, daily.interaction_features, daily.masked_train],
            resources={"platform": stocked.platform},
            tags={
                "dagster/asset_partition_range_start": DAYS[0],
                "dagster/asset_partition_range_end": DAYS[-1],
            },
            instance=instance,
        )
    assert done.success
    events = [e for e in done.all_events if e.event_type_value == "ASSET_MATERIALIZATION"]
    assert len(events) == 3 * len(DAYS)
    versions = {
        ("/".join(e.asset_key.path), e.partition): e.step_materialization_data.materialization.tags[
            "dagster/data_version"
        ]
        for e in events
    }
    for kind in ("raw/interactions", "features/interactions", "features/masked_train"):
        of_kind = {
            e.partition: e.step_materialization_data.materialization.metadata
            for e in events
            if "/".join(e.asset_key.path) == kind
        }
        for day in DAYS:
            own = stocked.store.current(kind, day)
            assert of_kind[day]["digest"].value == own.digest[:16]
            assert versions[kind, day] == own.digest
            assert of_kind[day]["dagster/row_count"].value == own.metrics["rows"]
    volume = {
        e.partition: e for e in done.get_asset_check_evaluations() if e.check_name == "volume"
    }
    assert [volume[day].passed for day in DAYS] == [True, False, True]
    assert volume[DAYS[1]].severity is dg.AssetCheckSeverity.WARN
    # one by one, the days are the same and are reused
    for day in DAYS:
        alone = materialized(stocked.run("interactions", day))["raw/interactions"]
        assert alone.metadata["reused"].value is True


def test_a_bad_day_of_a_range_names_itself_and_keeps_the_others(stocked: Home) -> None:
    stocked.rewrite(DAYS[1], lambda f: f.drop("click"))
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [interactions.interactions],
            resources={"platform": stocked.platform},
            tags={
                "dagster/asset_partition_range_start": DAYS[0],
                "dagster/asset_partition_range_end": DAYS[-1],
            },
            instance=instance,
            raise_on_error=False,
        )
    assert not done.success and DAYS[1] in failure(done) and "'click'" in failure(done)
    assert stocked.store.partitions("raw/interactions") == [DAYS[0], DAYS[2]]


def test_a_day_without_rows_is_a_day(stocked: Home) -> None:
    """Whether its file is empty or missing, all three artifacts exist."""
    stocked.rewrite(DAYS[0], lambda f: f.clear())
    (stocked.landing(DAYS[1]) / "simulated.parquet").unlink()
    for day in DAYS:
        done = stocked.run_all(["interactions", "features", "masked"], day)
        assert done.success, failure(done)
        assert checks(done)["contract"] and checks(done)["masked_share"]
    for kind in ("raw/interactions", "features/interactions", "features/masked_train"):
        rows = [stocked.store.current(kind, day).metrics["rows"] for day in DAYS]
        assert rows[:2] == [0, 0] and rows[2] > 0


def test_the_first_day_and_the_open_day_may_be_small(stocked: Home) -> None:
    stocked.rewrite(DAYS[0], lambda f: f.head(40))
    assert checks(stocked.run("interactions", DAYS[0])) == {"contract": True, "volume": True}
    today = partitions.today(get_settings()).isoformat()
    for day in DAYS[1:]:
        assert stocked.run("interactions", day, accept_volume=["all"]).success
    live = (
        pl.read_parquet(stocked.landing(DAYS[1]) / "simulated.parquet")
        .head(3)
        .with_columns(pl.lit(partitions.day_bounds(today)[0]).cast(pl.Int64).alias("timestamp"))
    )
    stocked.landing(today).mkdir()
    live.write_parquet(stocked.landing(today) / "events-1-0.parquet")
    done = stocked.run("interactions", today)
    assert done.success and checks(done) == {"contract": True, "volume": True}


def test_a_bad_delivery_leaves_the_good_one_in_force(begun: Home) -> None:
    before = begun.store.current("raw/interactions", DAYS[0])
    begun.rewrite(DAYS[0], lambda f: f.drop("click"))
    assert not begun.run("interactions", DAYS[0]).success
    assert begun.store.current("raw/interactions", DAYS[0]).digest == before.digest


def test_features_that_break_their_contract_are_not_published(
    begun: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys_assets.lib.features import daily as feature_tables

    honest = feature_tables.write_features

    def write_nan(inputs, day, target, zone, **options):
        metrics = honest(inputs, day, target, zone, **options)
        rows = pl.read_parquet(target / "features.parquet")
        rows.with_columns(pl.lit(float("nan"), pl.Float32).alias("item_clicks")).write_parquet(
            target / "features.parquet"
        )
        return metrics

    monkeypatch.setattr(feature_tables, "write_features", write_nan)
    done = begun.run_all(["features", "masked"], DAYS[0])
    assert not done.success and checks(done) == {"contract": False} and materialized(done) == {}
    assert (
        f"features/interactions [{DAYS[0]}]: column 'item_clicks': not a number of 0 or more"
        in failure(done)
    )
    assert begun.store.partitions("features/interactions") == []


def test_drift_warns_with_value_threshold_and_plot_and_does_not_block(
    begun: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys_assets.lib.quality import drift as measured

    monkeypatch.setattr(measured, "MINIMUM_ROWS", 500)  # a day of the tiny shop has some 900
    done = begun.run("features", DAYS[0])
    drift = next(e for e in done.get_asset_check_evaluations() if e.check_name == "drift")
    assert drift.passed and "value" not in drift.metadata  # the first day has no baseline
    begun.rewrite(DAYS[1], lambda f: f.with_columns(pl.lit("tablet").alias("device_type")))
    assert begun.run("interactions", DAYS[1]).success
    done = begun.run_all(["features", "masked"], DAYS[1])
    assert done.success and "features/masked_train" in materialized(done)
    drift = next(e for e in done.get_asset_check_evaluations() if e.check_name == "drift")
    assert not drift.passed and drift.severity == dg.AssetCheckSeverity.WARN
    assert (
        "device_type" in drift.metadata["drifted"].value
        and drift.metadata["threshold"].value == 0.06
    )
    assert drift.metadata["divergence"].value["device_type"] == drift.metadata["value"].value > 0.2
    assert drift.metadata["baseline"].value == [DAYS[0]] and drift.metadata[
        "plot"
    ].value.startswith("![Jensen")
    again = begun.run("features", DAYS[1], drift_threshold=0.9)
    assert checks(again) == FEATURE_CHECKS


def test_the_default_threshold_is_the_documented_one() -> None:
    from recsys_assets.defs.features.daily import FeaturesConfig
    from recsys_assets.lib.quality import drift

    assert FeaturesConfig().drift_threshold == drift.THRESHOLD


def test_column_lineage_names_existing_columns(begun: Home) -> None:
    done = begun.run_all(["features", "masked"], DAYS[0])
    tables = {
        "raw/interactions": RAW_INTERACTIONS,
        "raw/users": RAW_USERS,
        "raw/items": RAW_ITEMS,
        "features/interactions": INTERACTION_FEATURES,
    }
    for kind in ("features/interactions", "features/masked_train"):
        lineage = materialized(done)[kind].metadata["dagster/column_lineage"].value.deps_by_column
        assert list(lineage) and set(lineage) == set(INTERACTION_FEATURES)
        for dependencies in lineage.values():
            assert dependencies and all(
                d.column_name in tables["/".join(d.asset_key.path)] for d in dependencies
            )


BAD_TABLES = {
    "price": (
        "items",
        "catalogue/items.parquet",
        lambda f: f.with_columns(pl.lit(float("nan")).alias("price")),
        "items.parquet: column 'price': not a number above 0 (120)",
    ),
    "item twice": (
        "items",
        "catalogue/items.parquet",
        lambda f: pl.concat([f, f.head(2)]),
        "column 'item_id': duplicated (2)",
    ),
    "age": (
        "users",
        "users/users.parquet",
        lambda f: f.with_columns(pl.lit(300, pl.Int32).alias("age")),
        "users.parquet: column 'age': outside 0 to 120 years (300)",
    ),
    "gender": (
        "users",
        "users/users.parquet",
        lambda f: f.with_columns(pl.lit("x").alias("gender")),
        "column 'gender': unknown value",
    ),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_catalogue_or_users_file_is_named(home: Home, name: str) -> None:
    asset, file, change, named = BAD_TABLES[name]
    path = home.settings.home / "landing" / file
    change(pl.read_parquet(path)).write_parquet(path)
    done = home.run(asset)
    assert not done.success and checks(done) == {"contract": False} and named in failure(done)
    assert not home.store.exists(f"raw/{asset}")


def test_a_category_outside_the_declared_ones_fails_and_a_new_one_warns(stocked: Home) -> None:
    landing = stocked.settings.home / "landing"
    items = pl.read_parquet(landing / "catalogue/items.parquet")
    known = sorted(items["category_l1"].unique())
    renamed = items.with_columns(
        pl.when(pl.int_range(pl.len()) < 3)
        .then(pl.lit("gadgets"))
        .otherwise("category_l1")
        .alias("category_l1")
    )
    renamed.write_parquet(landing / "catalogue/items.parquet")
    (landing / "catalogue/categories.json").write_text(json.dumps(known))
    done = stocked.run("items")
    assert checks(done) == {"contract": False}
    assert "items.parquet: column 'category_l1': unknown value" in failure(
        done
    ) and "(3), for example 'gadgets'" in failure(done)
    (landing / "catalogue/categories.json").write_text(json.dumps([*known, "gadgets"]))
    done = stocked.run("items")
    assert done.success and checks(done) == {"contract": True, "new_categories": False}
    new = next(e for e in done.get_asset_check_evaluations() if e.check_name == "new_categories")
    assert (
        new.metadata["value"].value == {"gadgets": 3} and new.severity == dg.AssetCheckSeverity.WARN
    )


def test_refused_rows_are_shown_by_reason(stocked: Home) -> None:
    folder = stocked.settings.home / "landing" / "quarantine" / "interactions"
    folder.mkdir(parents=True)
    for number, reasons in enumerate((["no item"] * 2, ["no item", "no time"])):
        pl.DataFrame({"reason": reasons}).write_parquet(folder / f"{number}.parquet")
    metadata = materialized(stocked.run("interactions", DAYS[0]))["raw/interactions"].metadata
    assert metadata["quarantined"].value == {"no item": 3, "no time": 1}


def test_a_landing_zone_without_events_is_named(stocked: Home) -> None:
    for day in DAYS:
        (stocked.landing(day) / "simulated.parquet").unlink()
    done = stocked.run("interactions", DAYS[1])
    assert not done.success and "recsys simulate" in failure(done)


def test_the_days_are_those_of_the_shop_s_time_zone(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    zone = "America/New_York"
    landing = tmp_path_factory.mktemp("york")
    simulator.simulate(landing / "landing", "tiny", DAYS, seed=3, zone=zone)
    home = Home(tmp_path, landing)
    home.settings.time_zone = zone
    assert home.run("users").success and home.run("items").success
    for day in DAYS[:2]:
        assert home.run_all(["interactions", "features", "masked"], day).success, day
    rows = pl.read_parquet(
        home.store.current("features/interactions", DAYS[1]).path("features.parquet")
    )
    start, end = partitions.day_bounds(DAYS[1], zone)
    assert rows["timestamp"].is_between(start, end, closed="left").all()
    assert start == partitions.day_bounds(DAYS[1])[0] + 5 * 3_600
    before = pl.read_parquet(
        home.store.current("raw/interactions", DAYS[0]).path("interactions.parquet")
    )
    views = before.filter(event_type="View").group_by("item_id").len()
    expected = dict(views.iter_rows())
    popular = rows.select("item_id", "item_clicks").unique()
    assert {item: expected.get(item, 0) for item in popular["item_id"]} == dict(popular.iter_rows())
    # in UTC, the same files belong to two days
    home.settings.time_zone = "UTC"
    done = home.run("interactions", DAYS[1])
    assert not done.success and f"outside the day {DAYS[1]}" in failure(done)


def test_features_name_the_missing_days(stocked: Home) -> None:
    done = stocked.run("features", DAYS[2])
    assert not done.success and all(day in failure(done) for day in DAYS[1:])


# --- late events
def test_features_count_late_events_from_their_arrival_and_pass_the_check(stocked: Home) -> None:
    """A visitor's view at ten arrives at three: not known at noon, known at four."""
    start = partitions.day_bounds(DAYS[0])[0]
    item = pl.read_parquet(stocked.store.current("raw/items").path("items.parquet"))["item_id"][0]

    def with_late(rows: pl.DataFrame) -> pl.DataFrame:
        hours, came = [10, 12, 16], [15 * 3_600, None, None]
        rows = rows.select(*RAW_INTERACTIONS)
        own = pl.DataFrame(
            {
                "event_id": [f"late-{hour}" for hour in hours],
                "user_id": ["late"] * 3,
                "item_id": [item] * 3,
                "timestamp": [start + hour * 3_600 for hour in hours],
                "device_type": ["mobile"] * 3,
                "event_type": ["View"] * 3,
                "click": [1] * 3,
            },
            schema=rows.schema,
        )
        arrived = [None] * rows.height + [None if at is None else start + at for at in came]
        return pl.concat([rows, own]).with_columns(pl.Series("arrived", arrived, pl.Int64))

    stocked.rewrite(DAYS[0], with_late)
    assert checks(stocked.run("interactions", DAYS[0]))["contract"]
    raw = stocked.store.current("raw/interactions", DAYS[0])
    kept = pl.read_parquet(raw.path("interactions.parquet"))
    assert kept.columns == list(ARRIVED_INTERACTIONS) and raw.metrics["late"] == 1
    assert (kept["arrived"] >= kept["timestamp"]).all()
    assert checks(stocked.run("features", DAYS[0]))["point_in_time"]
    features = pl.read_parquet(
        stocked.store.current("features/interactions", DAYS[0]).path("features.parquet")
    ).filter(pl.col("user_id") == "late")
    assert features["clicks_24h"].to_list() == [0.0, 0.0, 2.0]
    # the next day reads this day's arrivals beside a day without late events
    assert stocked.run("interactions", DAYS[1]).success
    assert checks(stocked.run("features", DAYS[1]))["point_in_time"]
    # written again without its arrivals: they are kept, and nothing is built
    stocked.rewrite(DAYS[0], lambda rows: rows.drop("arrived"))
    assert stocked.run("interactions", DAYS[0]).success
    again = stocked.store.current("raw/interactions", DAYS[0])
    assert again.digest == raw.digest and again.uri != raw.uri
    assert (
        materialized(stocked.run("interactions", DAYS[0]))["raw/interactions"]
        .metadata["reused"]
        .value
    )
    # the files alone: every event was on time
    assert stocked.run("interactions", DAYS[0], keep_arrivals=False).success
    assert stocked.store.current("raw/interactions", DAYS[0]).metrics["late"] == 0


def test_an_arrival_in_the_future_breaks_the_contract(stocked: Home) -> None:
    stocked.rewrite(
        DAYS[0], lambda rows: rows.with_columns(arrived=pl.lit(4_000_000_000, pl.Int64))
    )
    result = stocked.run("interactions", DAYS[0])
    assert not result.success and checks(result) == {"contract": False}
