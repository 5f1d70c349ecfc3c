"""The commands that land ads logs: calendar, tables, and errors that name the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from recsys_assets import ads_partitions, partitions
from recsys_assets.cli import ads
from recsys_assets.lib.ads_ctr.ads_truth import AdsTruth
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day
from recsys_assets.settings import get_settings
from recsys_assets_tests.support.commands import environment_with, recsys


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    app = typer.Typer()
    app.command()(ads.ingest_ads)
    app.command()(ads.simulate_ads)
    yield lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))
    get_settings.cache_clear()


def write(path: Path, rows: int = 30) -> Path:
    frame = simulate_day(AdsTruth(7), 0, rows).rows
    frame.write_csv(path, separator="\t", include_header=False)
    return path


def days(home: Path) -> list[str]:
    return sorted(day.name for day in (home / "landing/ads").iterdir())


def test_a_log_lands_and_gives_the_calendar(run, tmp_path: Path) -> None:
    file = write(tmp_path / "day_0")
    file.write_text(file.read_text() + "junk\n")
    done = run("ingest-ads", file, "--first-day", "2026-01-05")
    assert done.exit_code == 0, done.output
    assert "2026-01-05" in done.stderr and "1 rows set aside: 1 fields, 40 expected" in done.stderr
    assert "quarantine/ads" in done.stderr
    assert days(tmp_path / "home") == ["2026-01-05"]
    assert ads_partitions.ads_start(get_settings()).isoformat() == "2026-01-05"
    later = run("ingest-ads", write(tmp_path / "day_1", 40), "--first-day", "2026-01-06")
    assert later.exit_code == 0
    calendar = json.loads((tmp_path / "home/calendar.json").read_text())
    assert calendar["ads_start_day"] == "2026-01-05", "a later day does not move the first one"


def test_without_a_first_day_the_last_one_is_yesterday(run, tmp_path: Path) -> None:
    assert run("ingest-ads", write(tmp_path / "train.txt"), "--days", 3).exit_code == 0
    today = partitions.today(get_settings())
    assert days(tmp_path / "home")[-1] == partitions.previous_day(today.isoformat())
    assert len(days(tmp_path / "home")) == 3


def test_simulated_days_land_with_their_truth(run, tmp_path: Path) -> None:
    done = run("simulate-ads", "--days", 2, "--rows", 50, "--drift", "abrupt", "--at", 1)
    assert done.exit_code == 0, done.output
    truth = tmp_path / "home/landing/truth/ads"
    assert sorted(file.stem for file in truth.iterdir()) == days(tmp_path / "home")
    last = tmp_path / "home/landing/ads" / days(tmp_path / "home")[-1] / "simulated.parquet"
    assert pl.read_parquet(last).height == 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ingest-ads", "nowhere"), "nowhere cannot be read"),
        (("ingest-ads", "{file}", "--first-day", "soon"), "--first-day soon: give a day such as"),
        (("ingest-ads", "{file}", "--first-day", "2999-01-01"), "end after today"),
        (("ingest-ads", "{file}", "--days", "99"), "30 rows have the form of an ads log, 99 days"),
        (("simulate-ads", "--drift", "sudden"), "--drift must be one of none, abrupt"),
    ],
)
def test_a_wrong_option_is_refused_by_name(
    run, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    file = write(tmp_path / "day")
    done = run(*(one.format(file=file) for one in arguments))
    assert done.exit_code == 1 and message in done.stderr, done.output
    assert not (tmp_path / "home/landing/ads").exists()


def test_a_landing_zone_elsewhere_is_refused(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_LANDING_URI", "s3://bucket/landing")
    get_settings.cache_clear()
    done = run("ingest-ads", write(tmp_path / "day"))
    assert done.exit_code == 1 and "ingest into a folder, then copy it there" in done.stderr


def test_promotion_and_rollback_need_a_release(tmp_path: Path) -> None:
    environment = environment_with({"RECSYS_HOME": str(tmp_path / "home")})
    command = recsys(environment, "promote-ads", limit=60)
    assert command.returncode == 1 and "run the job ads_training first" in command.stderr
    command = recsys(environment, "rollback-ads", limit=60)
    assert command.returncode == 1 and "no previous champion" in command.stderr
