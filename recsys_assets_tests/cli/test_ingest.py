"""The command: options to report, calendar, and errors on standard error."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from recsys_assets.cli.ingest import ingest
from recsys_assets.settings import get_settings

DAY = 1_767_225_600


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RECSYS_START_DAY")  # the fixed calendar of the tests
    get_settings.cache_clear()
    app = typer.Typer()
    app.command()(ingest)
    yield lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))
    get_settings.cache_clear()


def test_a_fresh_home_takes_the_calendar_of_the_log(run, tmp_path: Path):
    log = tmp_path / "log.csv"
    log.write_text(
        "visitor,sku,ts,kind\n"
        + "".join(f"007,i{n},{(DAY + n * 86_400) * 1_000},Look\n" for n in range(12))
        + ",i1,1,Look\n"
    )
    done = run(
        log,
        "--map",
        "user_id=visitor",
        "--map",
        "item_id=sku",
        "--map",
        "timestamp=ts",
        "--map",
        "event_type=kind",
        "--event-type",
        "Look=View",
    )
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "home/calendar.json").read_text()) == {
        "start_day": "2026-01-01",
        "time_zone": "UTC",
    }
    assert "user_id ← visitor" in done.stdout and "unix milliseconds" in done.stdout
    assert "user_id is null or empty: 1" in done.stdout
    assert "recsys materialize --as-of 2026-01-12" in done.stdout
    assert "2026-01-12, with 9 training and 3 validation days" in done.stdout

    again = run(
        log,
        "--map",
        "user_id=visitor",
        "--map",
        "item_id=sku",
        "--map",
        "timestamp=ts",
        "--map",
        "event_type=kind",
        "--event-type",
        "Look=View",
    )
    assert again.exit_code == 0 and again.stdout == done.stdout

    earlier = tmp_path / "earlier.csv"
    earlier.write_text(f"user_id,item_id,timestamp\nu,i,{DAY - 86_400}\n")
    moved = run(earlier)
    assert moved.exit_code == 0
    assert json.loads((tmp_path / "home/calendar.json").read_text())["start_day"] == "2025-12-31"
    assert "began on 2026-01-01 before" in moved.stderr and "`recsys down`" in moved.stderr


def test_the_time_zone_decides_the_days_and_stays_with_the_home(run, tmp_path: Path):
    log = tmp_path / "log.csv"
    log.write_text(
        "user_id,item_id,timestamp\n"
        "u,i,2026-03-29 01:30:00\n"  # before the hour that Berlin leaves out
        "u,j,2026-03-29 02:30:00\n"  # in it: moved forward to 03:30
        "u,k,2026-03-28T23:30:00Z\n"  # names its zone: 00:30 in Berlin
        "u,l,2026-10-25 02:30:00\n"  # twice: the first one counts
    )
    done = run(log, "--time-zone", "Europe/Berlin")
    assert done.exit_code == 0, done.output
    assert "ISO text (Europe/Berlin where no zone is given)" in done.stdout
    assert json.loads((tmp_path / "home/calendar.json").read_text()) == {
        "start_day": "2026-03-29",
        "time_zone": "Europe/Berlin",
    }
    days = sorted(path.name for path in (tmp_path / "home/landing/interactions").iterdir())
    assert days == ["2026-03-29", "2026-10-25"]
    rows = pl.concat(
        pl.read_parquet(tmp_path / "home/landing/interactions" / day / "*.parquet") for day in days
    )
    assert dict(rows.select("item_id", "timestamp").iter_rows()) == {
        "i": 1_774_744_200,  # 00:30 UTC
        "j": 1_774_747_800,  # 01:30 UTC
        "k": 1_774_740_600,
        "l": 1_792_888_200,  # 00:30 UTC
    }
    other = tmp_path / "other.csv"
    other.write_text("user_id,item_id,timestamp\nu,i,2026-03-30 00:10:00\n")
    assert run(other).exit_code == 0  # the home's zone
    assert (tmp_path / "home/landing/interactions/2026-03-30").exists()
    refused = run(other, "--time-zone", "Asia/Tokyo")
    assert refused.exit_code == 1 and "are those of Europe/Berlin" in refused.stderr
    unknown = run(other, "--time-zone", "Berlin")
    assert unknown.exit_code == 1 and "did you mean Europe/Berlin" in unknown.stderr


def test_errors_go_to_standard_error_with_their_remedy(run, tmp_path: Path):
    log = tmp_path / "log.csv"
    log.write_text("a,b,c\n1,2,3\n")
    done = run(log, "--map", "user_id=visitor")
    assert done.exit_code == 1
    assert (
        "has no column 'visitor'; its columns are 'a', 'b', 'c'" in done.stderr
        and done.stdout == ""
    )
    assert "must be a day of the form" in run(log, "--first-day", "monday").stderr
    assert "nothing to ingest" in run().stderr
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
