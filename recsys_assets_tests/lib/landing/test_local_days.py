"""Tests that tables, arrays and single moments have the same local times."""

from __future__ import annotations

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from recsys_assets import local_time
from recsys_assets.lib.landing import local_days

ZONES = ("UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu")
#: Half hours of two years: each hour that is left out or that happens twice.
MOMENTS = np.arange(1_735_689_600, 1_798_761_600, 1_800) + 7


@pytest.mark.parametrize("zone", ZONES)
def test_tables_arrays_and_single_moments_agree(zone: str) -> None:
    single = [local_time.to_local(int(moment), zone) for moment in MOMENTS]
    assert local_time.local_seconds(MOMENTS, zone).tolist() == single
    frame = pl.DataFrame({"at": MOMENTS})
    column = frame.lazy().select(
        local=local_days.local_seconds(pl.col("at"), zone),
        day=local_days.local_day(pl.col("at"), zone),
        hour=local_days.local_hour(pl.col("at"), zone),
    )
    found = column.collect()
    assert found["local"].to_list() == single
    assert found["day"].to_list() == local_time.local_days(MOMENTS, zone).tolist()
    assert found["hour"].to_list() == [one // 3_600 % 24 for one in single]
    # an independent implementation: the tables that come with Polars
    there = pl.from_epoch(pl.col("at"), time_unit="s").dt.replace_time_zone("UTC")
    theirs = frame.select(there.dt.convert_time_zone(zone).dt.replace_time_zone(None).alias("at"))
    assert found["local"].to_list() == theirs["at"].dt.epoch("s").to_list()


@pytest.mark.parametrize("zone", ZONES)
def test_wall_clocks_are_read_as_by_python(zone: str) -> None:
    walls = MOMENTS.tolist()
    expected = [
        int(
            datetime.fromtimestamp(wall, timezone.utc)
            .replace(tzinfo=ZoneInfo(zone), fold=0)
            .timestamp()
        )
        for wall in walls
    ]
    assert [local_time.from_local(wall, zone) for wall in walls] == expected
    frame = pl.DataFrame({"wall": walls})
    assert frame.select(local_days.from_local(pl.col("wall"), zone)).to_series().to_list() == (
        expected
    )


def test_empty_and_null_stay() -> None:
    assert local_time.local_days(np.array([], np.int64), "Europe/Berlin").tolist() == []
    frame = pl.DataFrame({"at": [None, 0]}, schema={"at": pl.Int64})
    local = frame.select(local_days.local_seconds(pl.col("at"), "Asia/Tokyo"))
    assert local.to_series().to_list() == [None, 32_400]
