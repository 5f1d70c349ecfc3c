"""Test the calendar: the reference split, which all processes share."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize(
    ("days", "train", "validation"),
    [(1, 1, 0), (2, 1, 1), (3, 2, 1), (6, 4, 2), (7, 5, 2), (11, 8, 3), (12, 9, 3), (40, 9, 3)],
)
def test_a_short_log_is_split_by_the_same_ratio(
    tmp_path: Path, days: int, train: int, validation: int
) -> None:
    settings = Settings(home=tmp_path, start_day=date(2026, 1, 1))
    every = partitions.days_between(date(2026, 1, 1), date(2026, 3, 1))[:days]
    as_of = every[-1]
    trained = partitions.train_days(as_of, settings)
    assert trained == every[-validation - train : days - validation]
    assert partitions.validation_days(as_of, settings) == every[days - validation :]
    before = partitions.BEFORE_VALIDATION.days(settings, as_of)
    assert before == every[days - validation - 1 : days - 1 if validation else 0]
    assert partitions.INNER.days(settings, as_of) == trained[1:][-partitions.INNER_DAYS :]


def test_history_ends_yesterday_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path, start_day=None)
    monkeypatch.setattr(partitions, "today", lambda _: date(2028, 3, 1))
    first = partitions.calendar_start(settings)
    assert partitions.history_days(settings)[-1] == "2028-02-29"
    monkeypatch.setattr(partitions, "today", lambda _: date(2031, 1, 1))
    assert partitions.calendar_start(settings) == first


def test_the_time_zone_is_that_of_the_setting_else_of_the_home_else_utc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path, start_day=None)
    assert partitions.time_zone(settings) == "UTC"
    (tmp_path / "calendar.json").write_text(json.dumps({"time_zone": "Asia/Tokyo"}))
    assert partitions.time_zone(settings) == "Asia/Tokyo"
    # 2025-12-31 16:00 UTC is New Year in Tokyo
    monkeypatch.setattr(partitions, "time", lambda: 1_767_196_800.0)
    assert partitions.today(settings) == date(2026, 1, 1)
    assert partitions.calendar_start(settings) == date(2025, 12, 18)
    assert partitions.time_zone(settings) == "Asia/Tokyo"  # the stored zone stays
    assert partitions.time_zone(Settings(home=tmp_path, time_zone="Europe/Berlin")) == (
        "Europe/Berlin"
    )


def test_look_back_stops_at_the_calendar_s_start(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, start_day=date(2026, 1, 1))
    look_back = partitions.LOOK_BACK
    assert look_back.days(settings, "2026-01-01") == ["2026-01-01"]
    assert look_back.days(settings, "2026-01-02") == ["2026-01-01", "2026-01-02"]
    assert look_back.days(settings, "2026-01-12") == [f"2026-01-{n:02d}" for n in range(5, 13)]
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


def test_the_windows_of_clicks_and_seen_items_follow_the_settings(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, start_day=date(2026, 1, 1), look_back_days=2, seen_days=30, popularity_days=3
    )
    assert partitions.LOOK_BACK.days(settings, "2026-03-10") == [
        "2026-03-08",
        "2026-03-09",
        "2026-03-10",
    ]
    assert partitions.CLICK_HISTORY.days(settings, "2026-03-10") == ["2026-03-09", "2026-03-10"]
    seen = partitions.SEEN.days(settings, "2026-03-10")
    assert (seen[0], seen[-1], len(seen)) == ("2026-02-09", "2026-03-10", 30)
    # the release in force may have the rule "auto"
    assert (
        len(partitions.SEEN.days(Settings(start_day=date(2026, 1, 1), seen_days=2), seen[-1])) == 7
    )


def test_day_bounds_are_those_of_the_zone() -> None:
    assert partitions.day_bounds("1970-01-02") == (86_400, 172_800)
    assert partitions.day_bounds("1970-01-02", "Asia/Tokyo") == (54_000, 140_400)
