"""Daily assets called directly: good days pass, bad days are red, name what is wrong, and publish nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib import simulator
from recsys_assets.resources import Platform
from recsys_assets.settings import Settings, get_settings

# the assets' calendar is the session's: it is fixed when they are imported
START = partitions.calendar_start(get_settings())
DAYS = partitions.history_days(get_settings())[:3]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated landing zone of three days; tests copy it before they hurt it."""
    landing = tmp_path_factory.mktemp("shop") / "landing"
    simulator.simulate(landing, "tiny", DAYS, seed=3)
    return landing


class Home:
    """A home of its own and the daily assets in it."""

    def __init__(self, folder: Path, shop: Path):
        shutil.copytree(shop, folder / "landing")
        self.settings = Settings(home=folder, start_day=START, scale="tiny")
        self.store = ArtifactStore(self.settings.artifacts)
        home = self.settings

        class HomePlatform(Platform):
            @property
            def settings(self) -> Settings:
                return home

        self.platform = HomePlatform()

    def landing(self, day: str) -> Path:
        return self.settings.home / "landing" / "interactions" / day

    def run(self, name: str, day: str | None = None) -> dg.ExecuteInProcessResult:
        from recsys_assets.defs.features import daily
        from recsys_assets.defs.raw import catalogue, interactions

        assets = {"users": catalogue.users, "items": catalogue.items, "interactions": interactions.interactions,
                  "features": daily.interaction_features, "masked": daily.masked_train}
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize([assets[name]], resources={"platform": self.platform}, partition_key=day,
                                  raise_on_error=False, instance=instance)


@pytest.fixture
def home(tmp_path: Path, shop: Path) -> Home:
    return Home(tmp_path, shop)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    event = next(e for e in result.all_events if e.event_type_value == "STEP_FAILURE")
    data = event.step_failure_data
    return (data.user_failure_data.description if data.user_failure_data else None) or data.error.cause.message


def test_a_good_day_passes_with_its_figures(home: Home):
    assert home.run("users").success and home.run("items").success
    for day in DAYS:
        done = home.run("interactions", day)
        assert done.success and checks(done) == {"contract": True, "volume": True}
        done = home.run("features", day)
        assert done.success and checks(done) == {"point_in_time": True}
        assert home.run("masked", day).success
    metadata = done.asset_materializations_for_node("features__interactions")[0].metadata
    assert metadata["dagster/row_count"].value > 100 and 0.05 < metadata["click_rate"].value < 0.5
    assert metadata["dagster/column_schema"].value.columns[0].name == "event_id"


def test_the_same_partition_twice_is_the_same_bytes_and_reused(home: Home):
    first, second = (home.run("interactions", DAYS[0]) for _ in range(2))
    versions = [r.asset_materializations_for_node("raw__interactions")[0] for r in (first, second)]
    assert versions[0].tags["dagster/data_version"] == versions[1].tags["dagster/data_version"]
    assert versions[1].metadata["reused"].value is True


def _rewrite(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        change(pl.read_parquet(file)).write_parquet(file)
    return damage


BAD_DAYS = {
    "missing column": (_rewrite(lambda f: f.drop("device_type")), ["simulated.parquet", "device_type"]),
    "wrong type": (_rewrite(lambda f: f.with_columns(pl.col("timestamp").cast(pl.Float64))), ["simulated.parquet", "timestamp"]),
    "null keys": (_rewrite(lambda f: f.with_columns(pl.when(pl.int_range(pl.len()) < 7).then(None).otherwise(pl.col("user_id"))
                                                    .alias("user_id"))), ["simulated.parquet", "user_id", "7"]),
    "no rows": (_rewrite(lambda f: f.clear()), ["simulated.parquet", "no rows"]),
    "truncated": (lambda file: file.write_bytes(file.read_bytes()[:-100]), ["simulated.parquet", "Parquet"]),
    "future times": (_rewrite(lambda f: f.with_columns(pl.col("timestamp") + 86_400 * 3)), ["simulated.parquet", "timestamp"]),
    "unknown device": (_rewrite(lambda f: f.with_columns(pl.lit("toaster").alias("device_type"))), ["simulated.parquet", "device_type"]),
    "duplicated": (_rewrite(lambda f: pl.concat([f, f.head(5)])), ["simulated.parquet", "event_id", "5"]),
}


@pytest.mark.parametrize("name", BAD_DAYS)
def test_a_bad_day_fails_its_check_and_publishes_nothing(home: Home, name: str):
    damage, named = BAD_DAYS[name]
    damage(home.landing(DAYS[1]) / "simulated.parquet")
    done = home.run("interactions", DAYS[1])
    assert not done.success and checks(done) == {"contract": False}
    assert all(word in failure(done) for word in named), failure(done)
    assert home.store.partitions("raw/interactions") == []
    assert home.run("users").success and home.run("items").success
    assert home.run("interactions", DAYS[0]).success
    downstream = home.run("features", DAYS[1])  # by hand, in a run of its own
    assert not downstream.success and DAYS[1] in failure(downstream)


def test_ten_times_the_volume_fails_the_volume_check(home: Home):
    for day in DAYS[:2]:
        assert home.run("interactions", day).success
    file = home.landing(DAYS[2]) / "simulated.parquet"
    rows = pl.read_parquet(file)
    pl.concat([rows.with_columns(pl.col("event_id") + f"-{n}") for n in range(10)]).write_parquet(file)
    done = home.run("interactions", DAYS[2])
    assert checks(done) == {"contract": True, "volume": False}


def test_a_day_that_did_not_land_is_named(home: Home):
    (home.landing(DAYS[1]) / "simulated.parquet").unlink()
    done = home.run("interactions", DAYS[1])
    assert not done.success and DAYS[1] in failure(done) and "recsys simulate" in failure(done)


def test_features_name_the_missing_days(home: Home):
    assert home.run("users").success and home.run("items").success
    done = home.run("features", DAYS[2])
    assert not done.success and all(day in failure(done) for day in DAYS[1:])
