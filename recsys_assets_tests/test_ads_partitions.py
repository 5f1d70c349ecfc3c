"""The calendar of the ads log."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from recsys_assets import ads_partitions
from recsys_assets.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, start_day=date(2026, 3, 2), ads_train_days=2)


def test_the_first_day_is_the_earliest_that_was_landed(settings: Settings) -> None:
    assert ads_partitions.ads_start(settings) == date(2026, 3, 2), "that of the shop"
    for day in ("2026-02-10", "2026-02-12", "2026-01-31"):
        ads_partitions.begin_with(settings, day)
    assert ads_partitions.ads_start(settings) == date(2026, 1, 31)
    fixed = settings.model_copy(update={"ads_start_day": date(2025, 12, 1)})
    assert ads_partitions.ads_start(fixed) == date(2025, 12, 1)


def test_the_rest_of_the_calendar_is_kept(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "calendar.json").write_text('{"time_zone": "Europe/Berlin"}')
    ads_partitions.begin_with(settings, "2026-02-10")
    assert json.loads((tmp_path / "calendar.json").read_text()) == {
        "time_zone": "Europe/Berlin",
        "ads_start_day": "2026-02-10",
    }


def test_windows_end_before_the_day_and_begin_with_the_log(settings: Settings) -> None:
    """The windows are cut off by the calendar of ads and not by that of the shop."""
    ads_partitions.begin_with(settings, "2026-02-10")
    training, baseline = ads_partitions.ADS_TRAINING, ads_partitions.ADS_BASELINE
    assert training.days(settings, "2026-02-13") == ["2026-02-11", "2026-02-12"]
    assert training.days(settings, "2026-02-11") == ["2026-02-10"]
    assert training.days(settings, "2026-02-10") == []
    assert len(baseline.days(settings, "2026-02-25")) == 7
    assert baseline.days(settings, "2026-02-12") == ["2026-02-10", "2026-02-11"]
