"""Test the calendar: the reference split, which all processes share."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from recsys_assets import partitions
from recsys_assets.settings import Settings


def test_as_of_day_11_is_the_reference_split(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, start_day=date(2026, 1, 1))
    assert partitions.first_as_of(settings) == "2026-01-12"
    assert partitions.train_days("2026-01-12") == [f"2026-01-0{d}" for d in range(1, 10)]
    assert partitions.validation_days("2026-01-12") == ["2026-01-10", "2026-01-11", "2026-01-12"]
    assert partitions.history_days(settings)[-1] == "2026-01-14"


def test_history_ends_yesterday_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path, start_day=None)
    monkeypatch.setattr(partitions, "today", lambda: date(2028, 3, 1))
    first = partitions.calendar_start(settings)
    assert partitions.history_days(settings)[-1] == "2028-02-29"
    monkeypatch.setattr(partitions, "today", lambda: date(2031, 1, 1))
    assert partitions.calendar_start(settings) == first


def test_look_back_stops_at_the_calendar_s_start(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, start_day=date(2026, 1, 1))
    assert partitions.day_with_history(settings, "2026-01-01") == ["2026-01-01"]
    assert partitions.day_with_history(settings, "2026-01-02") == ["2026-01-01", "2026-01-02"]
    assert partitions.day_with_history(settings, "2026-01-12") == [
        f"2026-01-{n:02d}" for n in range(5, 13)
    ]
    assert partitions.recent_days(settings, "2026-01-03") == [
        "2026-01-01",
        "2026-01-02",
        "2026-01-03",
    ]
    assert partitions.recent_days(settings, "2026-01-09", 3) == [
        "2026-01-07",
        "2026-01-08",
        "2026-01-09",
    ]


def test_day_bounds_are_utc() -> None:
    assert partitions.day_bounds("1970-01-02") == (86_400, 172_800)
