"""Test the schedules: the clock of a shop moves through three weeks, and through a year."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from recsys_assets import partitions
from recsys_assets.defs.automation import due_days, due_models, schedules
from recsys_assets.lib.simulator import shop as simulator
from recsys_assets.schedule_settings import cron
from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.support.daily_home import DAYS, Home

Told = Mapping[str, Any]
DAILY = ("ingest_daily", "refresh_daily", "fine_tune_daily")
WEEKLY = ("train_weekly", "evaluate_weekly")


# --- three weeks on the real definitions, in a process of their own
def three_weeks(home: Path, zone: str, first_day: str, settings: Told, **story: Any) -> Told:
    """Return what happens in three weeks; see support/three_weeks.py."""
    own = {
        "RECSYS_HOME": str(home),
        "RECSYS_TIME_ZONE": zone,
        "RECSYS_START_DAY": first_day,
        "RECSYS_LOOK_BACK_DAYS": "3",
        "RECSYS_TRAIN_DAYS": "3",
        "RECSYS_VALIDATION_DAYS": "1",
        **settings,
    }
    done = subprocess.run(
        [sys.executable, "-m", "recsys_assets_tests.support.three_weeks", json.dumps(story)],
        cwd=PROJECT_ROOT,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: Told = json.loads(done.stdout)
    return found


def days(first: str, number: int = 21) -> list[str]:
    """Return consecutive days."""
    return partitions.days_between(
        date.fromisoformat(first), date.fromisoformat(first) + timedelta(days=number - 1)
    )


def reason(told: Told, name: str, morning: str) -> str:
    """Return why a schedule started nothing on a day."""
    [tick] = [one for one in told["ticks"] if one["name"] == name and one["at"][:10] == morning]
    return str(tick["skipped"])


def runs(told: Told, job: str, success: bool = True) -> list[dict[str, Any]]:
    """Return the runs of a job that succeeded, or failed, in their order."""
    return [one for one in told["runs"] if (one["job"], one["success"]) == (job, success)]


def days_of(told: Told, job: str, success: bool = True) -> list[str]:
    """Return the days of the runs of a job, in the order in which they were taken."""
    return [day for one in runs(told, job, success) for day in one["days"]]


def assert_in_order_and_once(told: Told, first_day: str) -> None:
    """Check what holds in every story."""
    mornings = days(first_day, 22)[1:]
    for name in DAILY:  # one tick per day, also where the clock changes
        found = [one["at"][:10] for one in told["ticks"] if one["name"] == name]
        assert found == mornings, name
    ingests = [one for one in runs(told, "daily_ingest") if one["key"].startswith("ingest")]
    assert [day for one in ingests for day in one["days"]] == days(first_day) == told["ingested"]
    done = Counter((one["job"], one["key"]) for one in told["runs"] if one["success"])
    assert max(done.values()) == 1
    tuned = days_of(told, "fine_tune")
    assert tuned == sorted(set(tuned))
    # the champion learns every day, by one of both, and never an older one
    served = [day for _, day in told["served"]]
    assert served == sorted(served) and served[-1] == days(first_day)[-1]


@pytest.mark.slow
def test_schedules_alone_where_clocks_go_forward_at_a_months_end(tmp_path: Path) -> None:
    """02:30 does not exist on 30 March; a day lands broken, and another one never lands."""
    first = "2025-03-17"
    told = three_weeks(
        tmp_path,
        "Europe/Berlin",
        first,
        {"RECSYS_SCHEDULE_INGEST": "02:30"},
        missing=["2025-04-01"],
        broken={"2025-03-25": "2025-03-28"},
        slow=["2025-03-29"],
        outage=["2025-04-04"],
        blocked=["2025-04-03"],
    )
    assert_in_order_and_once(told, first)
    moved = [one["at"] for one in told["ticks"] if one["at"].startswith("2025-03-30")]
    assert moved[0] == "2025-03-30T03:00:00+02:00"
    # the failed day holds back the days that read it, and is made good on the day of its repair
    failed = [one["days"] for one in runs(told, "daily_ingest", success=False)]
    assert failed == [["2025-03-25"], days("2025-03-25", 2)]
    assert "the ingest of 2025-03-25 failed" in reason(told, "fine_tune_daily", "2025-03-26")
    [repaired] = [one for one in runs(told, "daily_ingest") if "2025-03-25" in one["days"]]
    assert (repaired["days"], repaired["at"][:10]) == (days("2025-03-25", 3), "2025-03-28")
    # the day without data is empty once a later day has landed, and there is nothing to learn
    for name in DAILY:
        assert "2025-04-01 has not landed" in reason(told, name, "2025-04-02")
    assert "2025-04-01" not in days_of(told, "fine_tune")
    # a run that takes hours: nothing is started beside it
    assert "2025-03-29 is being ingested (run " in reason(told, "fine_tune_daily", "2025-03-30")
    assert "2025-03-29 is being ingested (run " in reason(told, "refresh_daily", "2025-03-30")
    # an outage is tried again; a verdict is not
    assert days_of(told, "fine_tune", success=False) == ["2025-04-03", "2025-04-04"]
    assert "2025-04-04" in days_of(told, "fine_tune")
    assert ["full", "2025-03-22"] in told["served"] and len(runs(told, "full_training")) == 3
    assert len(runs(told, "promote")) == len(runs(told, "full_training"))
    assert len(runs(told, "evaluation")) == 3
    assert "no champion to fine-tune" in reason(told, "fine_tune_daily", "2025-03-18")


@pytest.mark.slow
def test_schedules_and_sensors_where_clocks_go_back_at_a_months_end(tmp_path: Path) -> None:
    """01:30 exists twice on 2 November; a corrected day is followed by those that read it."""
    first = "2025-10-20"
    told = three_weeks(
        tmp_path,
        "America/New_York",
        first,
        {"RECSYS_SCHEDULE_INGEST": "01:30", "RECSYS_SCHEDULE_FINE_TUNE": "01:45"},
        missing=["2025-10-31"],
        broken={"2025-10-28": "2025-10-30"},
        slow=["2025-11-01"],
        outage=["2025-11-05"],
        corrected={"2025-11-07": "2025-11-05"},
        sensors=True,
    )
    assert_in_order_and_once(told, first)
    twice = [one["at"] for one in told["ticks"] if one["name"] == "ingest_daily"]
    assert [at for at in twice if at.startswith("2025-11-02")] == ["2025-11-02T01:30:00-05:00"]
    by = {job: {one["by"] for one in runs(told, job)} for job in ("daily_ingest", "fine_tune")}
    assert by == {
        "daily_ingest": {"new_day", "ingest_daily"},
        "fine_tune": {"ingested_day", "fine_tune_daily"},
    }
    refreshed = days_of(told, "feature_store_refresh")
    again = [day for day, times in Counter(refreshed).items() if times > 1]
    assert set(again) <= {"2025-11-05", "2025-11-06"}  # what the correction changed
    corrected = [one for one in told["runs"] if one["key"].startswith(("correct", "features"))]
    assert corrected[0]["days"][0] == "2025-11-05" and all(one["success"] for one in corrected)


# --- the clock
@pytest.mark.parametrize(
    ("zone", "time"),
    [
        ("UTC", "02:30"),
        ("Europe/Berlin", "02:30"),
        ("America/New_York", "01:30"),
        ("America/New_York", "02:00"),
        ("America/Santiago", "00:30"),
        ("Australia/Lord_Howe", "02:15"),
        ("Pacific/Kiritimati", "00:00"),
    ],
)
def test_a_daily_time_has_one_tick_per_local_day_of_a_year(zone: str, time: str) -> None:
    start = datetime(2025, 1, 1, 12, tzinfo=timezone.utc)
    ticks = schedule_execution_time_iterator(start.timestamp(), cron(time), zone)
    found = [next(ticks).date() for _ in range(365)]
    assert found == [found[0] + timedelta(days=n) for n in range(365)]


# --- real runs on a tiny shop
def days_at(home: Home, instance: dg.DagsterInstance, today: str) -> due_days.Days:
    """Return the days as a sensor sees them in the morning of a day."""
    return due_days.Days(dg.build_sensor_context(instance), home.platform, today)


def tick(home: Home, instance: dg.DagsterInstance, today: str) -> list[dg.RunRequest] | str:
    """Evaluate ingest_daily in the morning of a day; return its runs, or the reason."""
    moment = datetime.fromisoformat(f"{today}T02:30:00+00:00")
    return home.ticked(schedules.ingest_daily, instance, moment)


def taken(home: Home, instance: dg.DagsterInstance, request: dg.RunRequest) -> bool:
    """Run the real assets for a request."""
    wanted = request.partition_key_range
    first, last = (
        (wanted.start, wanted.end) if wanted else (request.partition_key, request.partition_key)
    )
    names = ["interactions", "features", "masked"]
    return home.run_all(names, first, instance, until=None if first == last else last).success


@pytest.mark.slow
def test_the_real_assets_take_each_day_once_and_follow_a_correction_in_one_run(
    tmp_path: Path,
) -> None:
    simulator.simulate(tmp_path / "shop" / "landing", "tiny", DAYS, seed=3)
    home = Home(tmp_path / "home", tmp_path / "shop")
    mornings = partitions.days_between(
        date.fromisoformat(DAYS[1]), date.fromisoformat(DAYS[-1]) + timedelta(days=1)
    )
    with dg.DagsterInstance.local_temp() as instance:
        assert home.run_all(["users", "items"], instance=instance).success
        for day, morning in zip(DAYS, mornings, strict=True):
            [request] = tick(home, instance, morning)
            assert request.partition_key == day and taken(home, instance, request)
            assert tick(home, instance, morning) == f"{day} and all days before it are ingested"
        before = home.store.version("features/interactions", DAYS[2])
        home.rewrite(DAYS[1], lambda rows: rows.slice(rows.height // 2))
        [request] = tick(home, instance, mornings[-1])
        assert request.partition_key_range == dg.PartitionKeyRange(DAYS[1], DAYS[2])
        assert DAYS[1] in request.tags["recsys/changed"] and taken(home, instance, request)
        assert home.store.version("features/interactions", DAYS[2]) != before
        assert "are ingested" in tick(home, instance, mornings[-1])
        # a day whose files are gone is not read as an empty one, although it follows a correction
        (home.landing(DAYS[2]) / "simulated.parquet").unlink()
        home.rewrite(DAYS[1], lambda rows: rows.slice(rows.height // 2))
        [request] = tick(home, instance, mornings[-1])
        assert request.partition_key == DAYS[1] and taken(home, instance, request)
        assert "are ingested" in tick(home, instance, mornings[-1])
        late = due_models.not_followed(days_at(home, instance, mornings[-1]), DAYS)
        assert late is not None and "run the job daily_features" in late
