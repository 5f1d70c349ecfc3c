"""Tests of the wall clock of time zones."""

from __future__ import annotations

import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from recsys_assets import local_time

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",  # half an hour of daylight saving
    "Pacific/Apia",  # skipped 2011-12-30
    "America/Havana",  # the clock jumps over midnight
)


@pytest.mark.parametrize("zone", ZONES)
def test_local_seconds_and_days_equal_those_of_zoneinfo(zone: str) -> None:
    draw = random.Random(1)
    for _ in range(5_000):
        moment = draw.randrange(0, 3_000_000_000)
        there = datetime.fromtimestamp(moment, ZoneInfo(zone))
        offset = there.utcoffset()
        assert offset is not None
        assert local_time.to_local(moment, zone) == moment + int(offset.total_seconds())
        assert local_time.day_of(moment, zone) == there.date().isoformat()


@pytest.mark.parametrize("zone", ZONES)
def test_days_follow_each_other_without_gap(zone: str) -> None:
    for number in range(0, 25_000):
        day = local_time.day_name(number)
        start, end = local_time.day_bounds(day, zone)
        if start < end:  # Apia had no 2011-12-30
            assert local_time.day_of(start, zone) == day
            assert local_time.day_of(end - 1, zone) == day
            assert local_time.day_of(start - 1, zone) < day
        assert local_time.day_bounds(local_time.day_name(number + 1), zone)[0] == end


def test_daylight_saving_gives_days_of_23_and_25_hours() -> None:
    def hours(day: str) -> float:
        start, end = local_time.day_bounds(day, "Europe/Berlin")
        return (end - start) / 3_600

    assert [hours(day) for day in ("2026-03-28", "2026-03-29", "2026-10-25")] == [24, 23, 25]


def test_an_unknown_zone_is_refused_with_similar_names() -> None:
    with pytest.raises(local_time.UnknownTimeZone, match="did you mean Europe/Berlin"):
        local_time.time_zone("berlin")
