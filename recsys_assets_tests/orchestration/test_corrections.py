"""Test that training refuses days that changed in the landing zone after they were read."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from recsys_assets.lib.simulator import shop as simulator
from recsys_assets.orchestration.corrections import DayCorrected, require_read
from recsys_assets_tests.support.daily_home import DAYS, Home

ALL = ["interactions", "features", "masked"]


@pytest.fixture(scope="module")
def ingested_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    simulator.simulate(folder / "landing", "tiny", DAYS, seed=3)
    home = Home(tmp_path_factory.mktemp("ingested"), folder)
    assert home.run_all(["users", "items"]).success
    assert home.run_all(ALL, DAYS[0], until=DAYS[-1]).success
    return home.settings.home


@pytest.fixture
def home(tmp_path: Path, ingested_shop: Path) -> Home:
    """Return a home whose three days were ingested."""
    return Home(tmp_path, ingested_shop)


def refuse(home: Home, day: str) -> None:
    require_read(dg.build_asset_context(), home.platform, [day])


def test_a_day_that_is_written_again_is_refused_by_name_until_it_is_read(home: Home) -> None:
    refuse(home, DAYS[2])
    home.rewrite(DAYS[0], lambda rows: rows.slice(1))
    with pytest.raises(DayCorrected) as refused:
        refuse(home, DAYS[2])  # its features look back on that day
    for words in (
        f"the landing files of {DAYS[0]} differ",
        "written again simulated.parquet (",
        f"`recsys ingest-day {DAYS[0]}`",
    ):
        assert words in str(refused.value)
    assert home.run_all(ALL, DAYS[0]).success
    refuse(home, DAYS[2])


def test_late_events_of_visitors_are_a_warning(home: Home) -> None:
    file = home.landing(DAYS[0]) / "simulated.parquet"
    late = pl.read_parquet(file).head(1).with_columns(event_id=pl.lit("late"))
    late.write_parquet(file.with_name("events-1793491200000-0.parquet"))
    refuse(home, DAYS[1])
    late.write_parquet(file.with_name("log.parquet"))
    with pytest.raises(DayCorrected, match=r"added events-\S+ \(1 rows\), log\.parquet \(1 rows\)"):
        refuse(home, DAYS[1])


def test_a_day_whose_files_are_gone_is_not_refused(home: Home) -> None:
    (home.landing(DAYS[0]) / "simulated.parquet").unlink()
    refuse(home, DAYS[1])


def test_masked_rows_of_outdated_features_are_refused_by_the_asset(home: Home) -> None:
    home.rewrite(DAYS[0], lambda rows: rows.filter(pl.col("event_type") != "View"))
    assert home.run("interactions", DAYS[0]).success
    failed = home.run("masked", DAYS[1])
    assert not failed.success
    assert f"made before raw/interactions of {DAYS[0]} changed" in str(failed.all_events)
    assert home.run_all(ALL[1:], DAYS[0], until=DAYS[-1]).success
