"""Test runs of a range of days: each day keeps its events, checks and data version."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from recsys_assets.defs.features import daily
from recsys_assets.defs.raw import interactions
from recsys_assets.lib.simulator import shop as simulator
from recsys_assets.orchestration import days as ranges
from recsys_assets_tests.defs.features.test_daily import DAYS, Home, failure

ASSETS = {
    "raw/interactions": interactions.interactions,
    "features/interactions": daily.interaction_features,
    "features/masked_train": daily.masked_train,
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with three landed days, users and items."""
    template = tmp_path / "template"
    simulator.simulate(template / "landing", "tiny", DAYS, seed=3)
    made = Home(tmp_path / "home", template)
    assert made.run("users").success and made.run("items").success
    return made


def ingest(home: Home, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Ingest all days by one run."""
    return dg.materialize(
        list(ASSETS.values()),
        resources={"platform": home.platform},
        tags={ASSET_PARTITION_RANGE_START_TAG: DAYS[0], ASSET_PARTITION_RANGE_END_TAG: DAYS[-1]},
        raise_on_error=False,
        instance=instance,
    )


def materializations(
    instance: dg.DagsterInstance, asset: str
) -> dict[str | None, list[dg.AssetMaterialization]]:
    """Return day → the materialisations of an asset."""
    records = instance.fetch_materializations(dg.AssetKey(asset.split("/")), limit=100).records
    found: dict[str | None, list[dg.AssetMaterialization]] = {}
    for record in records:
        assert record.asset_materialization is not None
        found.setdefault(record.partition_key, []).append(record.asset_materialization)
    return found


def test_one_run_reports_each_day_by_itself(home: Home) -> None:
    lines: list[str] = []
    with dg.DagsterInstance.ephemeral() as instance, ranges.progress_to(lines.append):
        done = ingest(home, instance)
        assert done.success
        for asset, definition in ASSETS.items():
            found = materializations(instance, asset)
            assert sorted(map(str, found)) == DAYS
            for day in DAYS:
                [made] = found[day]  # not one more for the output of the step
                artifact = home.store.current(asset, day)
                assert made.tags is not None
                assert made.tags["dagster/data_version"] == artifact.digest
                assert made.metadata["uri"].value == artifact.uri
            names = {spec.name for spec in definition.check_specs}
            reported = [
                (one.check_name, one.partition)
                for one in done.get_asset_check_evaluations()
                if one.asset_key == definition.key
            ]
            assert sorted(reported) == sorted((name, day) for name in names for day in DAYS)
        records = {
            record.partition_key: record.storage_id
            for record in instance.fetch_materializations(
                dg.AssetKey(["raw", "interactions"]), limit=9
            ).records
        }
    for one in done.get_asset_check_evaluations():
        assert one.target_materialization_data is not None
        if one.check_name == "volume":
            assert one.target_materialization_data.storage_id == records[one.partition]
    assert lines == [f"{asset}: 3 of 3 days ({DAYS[-1]})" for asset in ASSETS]


def test_a_range_makes_the_bytes_of_one_run_per_day(home: Home, tmp_path: Path) -> None:
    alone = Home(tmp_path / "alone", home.settings.home)
    with dg.DagsterInstance.ephemeral() as instance:
        assert ingest(home, instance).success
    for name in ("interactions", "features", "masked"):
        for day in DAYS:
            assert alone.run(name, day).success
    for kind in ASSETS:
        assert [home.store.current(kind, day).digest for day in DAYS] == [
            alone.store.current(kind, day).digest for day in DAYS
        ]


def test_a_bad_day_is_named_and_loses_no_other_day(home: Home) -> None:
    good = pl.read_parquet(home.landing(DAYS[1]) / "simulated.parquet")
    home.rewrite(DAYS[1], lambda f: f.drop("click"))
    with dg.DagsterInstance.ephemeral() as instance:
        done = ingest(home, instance)
        assert not done.success
        assert f"1 of 3 days failed, the others are kept: {DAYS[1]}" in failure(done)
        assert "'click': column is missing" in failure(done)
        assert home.store.partitions("raw/interactions") == [DAYS[0], DAYS[2]]
        assert sorted(map(str, materializations(instance, "raw/interactions"))) == [
            DAYS[0],
            DAYS[2],
        ]
        contract = {
            one.partition: one.passed
            for one in done.get_asset_check_evaluations()
            if one.check_name == "contract"
        }
        assert contract == {DAYS[0]: True, DAYS[1]: False, DAYS[2]: True}
        good.write_parquet(home.landing(DAYS[1]) / "simulated.parquet")
        assert ingest(home, instance).success
        kept, new = (
            materializations(instance, "raw/interactions")[day][0] for day in (DAYS[0], DAYS[1])
        )
    assert kept.metadata["reused"].value is True and new.metadata["reused"].value is False


def test_an_error_names_the_day(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys_assets.lib.features import daily_checks

    def broken(*_: object) -> None:
        raise KeyError("nothing")

    monkeypatch.setattr(daily_checks, "check_and_profile", broken)
    with dg.DagsterInstance.ephemeral() as instance:
        done = ingest(home, instance)
    event = next(e for e in done.all_events if e.event_type_value == "STEP_FAILURE")
    error = event.step_failure_data.error
    assert error is not None and error.cause is not None
    assert f"while features/interactions built {DAYS[0]}" in error.cause.message
