"""Convert columns of moments to the wall clock of a time zone.

The offsets are those of ``local_time``, so that a table and a single event always agree on the day.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recsys_assets import local_time
from recsys_assets.columns import SECONDS_PER_DAY, SECONDS_PER_HOUR


def local_seconds(moments: pl.Expr, zone: str) -> pl.Expr:
    """Return the local seconds of unix seconds, Int64."""
    if zone == local_time.UTC:
        return moments
    return moments + _in_force(moments, *local_time.offsets(zone))


def local_day(moments: pl.Expr, zone: str) -> pl.Expr:
    """Return the local day of unix seconds, in days since 1970, Int64."""
    return local_seconds(moments, zone) // SECONDS_PER_DAY


def local_hour(moments: pl.Expr, zone: str) -> pl.Expr:
    """Return the local hour of unix seconds, 0 to 23, Int64."""
    return local_seconds(moments, zone) // SECONDS_PER_HOUR % 24


def from_local(local: pl.Expr, zone: str) -> pl.Expr:
    """Return the unix seconds of local seconds, by the rule of ``local_time.from_local``."""
    if zone == local_time.UTC:
        return local
    return local - _in_force(
        local, local_time.wall_clock_changes(zone), local_time.offsets(zone)[1]
    )


def _in_force(at: pl.Expr, since: Sequence[int], seconds: Sequence[int]) -> pl.Expr:
    """Return the offset that is in force at each time."""

    def look_up(times: pl.Series) -> pl.Series:
        place = pl.Series(since, dtype=pl.Int64).search_sorted(times, side="right").cast(pl.Int64)
        return pl.Series(seconds, dtype=pl.Int64).gather((place - 1).clip(0))

    return at.map_batches(look_up, return_dtype=pl.Int64, is_elementwise=True)
