"""Test that a changed catalogue is imported before the days that name its items."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.definitions import defs
from recsys_assets.defs.automation import schedules, sensors
from recsys_assets.lib.landing import zone
from recsys_assets.lib.simulator import shop as simulator
from recsys_assets.orchestration import work
from recsys_assets_tests.support.daily_home import DAYS, Home

DAY, NEW = DAYS[0], "launched-today"


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a shop whose first day has landed."""
    folder = tmp_path_factory.mktemp("landed")
    simulator.simulate(folder / "landing", "tiny", [DAY], seed=3)
    return folder


@pytest.fixture
def home(tmp_path: Path, landed: Path) -> Home:
    return Home(tmp_path, landed)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp() as made:
        yield made


def file_of(home: Home, name: str) -> Path:
    return Path(home.settings.landing) / name


def launch(home: Home) -> None:
    """Land a product that the catalogue lacks."""
    file = file_of(home, zone.ITEMS_FILE)
    items = pl.read_parquet(file)
    pl.concat([items, items.head(1).with_columns(pl.lit(NEW).alias(c.ITEM_ID))]).write_parquet(file)


def click(home: Home, item: str) -> None:
    """Let the first events of the day name an item."""
    number = pl.int_range(pl.len())
    home.rewrite(
        DAY,
        lambda rows: rows.with_columns(
            pl.when(number < 5).then(pl.lit(item)).otherwise(pl.col(c.ITEM_ID)).alias(c.ITEM_ID)
        ),
    )


def looked(home: Home, instance: dg.DagsterInstance) -> list[dg.RunRequest] | str:
    """Evaluate the sensor new_day; return its runs, or the reason."""
    with dg.build_sensor_context(
        instance=instance, resources={"platform": home.platform}
    ) as context:
        found = sensors.new_day(context)
    return str(found.skip_message) if isinstance(found, dg.SkipReason) else found


def ticked(home: Home, instance: dg.DagsterInstance) -> list[dg.RunRequest] | str:
    """Evaluate the schedule catalogue_daily; return its runs, or the reason."""
    moment = datetime.fromisoformat(f"{DAYS[1]}T02:00:00+00:00")
    return home.ticked(schedules.catalogue_daily, instance, moment)


def told(requests: list[dg.RunRequest] | str) -> list[str | None]:
    """Return the jobs of runs, in their order."""
    assert not isinstance(requests, str), requests
    return [one.job_name for one in requests]


def record(
    instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus
) -> None:
    """Record a run of a request."""
    job = defs().resolve_job_def(str(request.job_name))
    instance.create_run_for_job(job, status=status, tags=dict(request.tags))


def test_a_day_that_names_new_items_follows_the_import_of_their_catalogue(
    home: Home, instance: dg.DagsterInstance
) -> None:
    assert home.run_all(["users", "items"], instance=instance).success
    click(home, NEW)
    [early] = looked(home, instance)
    assert (early.job_name, early.partition_key) == ("daily_ingest", DAY)
    assert not home.run("interactions", DAY).success  # the catalogue lacks the item
    record(instance, early, dg.DagsterRunStatus.FAILURE)
    assert "was started before" in looked(home, instance)
    launch(home)
    first, second = looked(home, instance)
    assert (first.job_name, first.tags["recsys/changed"]) == ("catalogue", "raw/items")
    # tried again, because its catalogue has landed
    assert (second.job_name, second.partition_key) == ("daily_ingest", DAY)
    assert second.run_key != early.run_key
    assert home.run("items").success and home.run("interactions", DAY).success
    for request in (first, second):
        record(instance, request, dg.DagsterRunStatus.SUCCESS)
    read = pl.read_parquet(home.store.current("raw/interactions", DAY).path("interactions.parquet"))
    assert read.filter(pl.col(c.ITEM_ID) == NEW).height == 5
    assert "the landed catalogue is imported" in ticked(home, instance)


@pytest.mark.parametrize("name", [zone.ITEMS_FILE, zone.IMAGES_FILE, zone.USERS_FILE])
def test_each_file_of_the_catalogue_counts_by_its_content(
    home: Home, instance: dg.DagsterInstance, name: str
) -> None:
    assert told(ticked(home, instance)) == ["catalogue"]  # never imported
    assert home.run_all(["users", "items"], instance=instance).success
    assert ticked(home, instance) == "the landed catalogue is imported"
    file = file_of(home, name)
    file.write_bytes(file.read_bytes())
    assert ticked(home, instance) == "the landed catalogue is imported"
    pl.read_parquet(file).reverse().write_parquet(file)
    [request] = ticked(home, instance)
    kind = "raw/users" if name == zone.USERS_FILE else "raw/items"
    assert request.tags["recsys/changed"] == kind


def test_a_failed_import_is_repeated_by_the_schedule_alone_and_by_other_files(
    home: Home, instance: dg.DagsterInstance
) -> None:
    [request] = ticked(home, instance)
    record(instance, request, dg.DagsterRunStatus.STARTED)
    assert f"{request.run_key} is pending" in ticked(home, instance)
    [run] = work.runs_of(instance, str(request.run_key))
    # the tables are imported, and what follows from them failed
    assert home.run_all(["users", "items"], instance=instance).success
    instance.report_run_failed(run)
    [again] = ticked(home, instance)
    assert again.run_key == request.run_key
    assert told(looked(home, instance)) == ["daily_ingest"]  # a day does not wait for it
    launch(home)
    assert told(looked(home, instance)) == ["catalogue", "daily_ingest"]
    record(instance, again, dg.DagsterRunStatus.SUCCESS)
    assert told(ticked(home, instance)) == ["catalogue"]  # of the other files


def test_a_landing_zone_without_a_catalogue_starts_no_import(
    home: Home, instance: dg.DagsterInstance
) -> None:
    file_of(home, zone.ITEMS_FILE).unlink()
    assert "no catalogue has landed" in ticked(home, instance)
    assert told(looked(home, instance)) == ["daily_ingest"]
