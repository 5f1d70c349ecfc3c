"""Compute local days of a table's moments."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys_assets.columns import SECONDS_PER_DAY
from recsys_assets.local_time import offsets


def day_numbers(moments: np.ndarray, zone: str) -> np.ndarray:
    """Return the numbers of the local days of unix seconds, int64 [N].

    >>> day_numbers(np.array([82_799, 82_800]), "Europe/Berlin")
    array([0, 1])
    """
    starts, seconds = (np.array(values, np.int64) for values in offsets(zone))
    place = np.maximum(np.searchsorted(starts, moments, side="right") - 1, 0)
    found: np.ndarray = (moments + seconds[place]) // SECONDS_PER_DAY
    return found


def local_days(column: str, zone: str) -> pl.Expr:
    """Return the expression of the local days of a column of unix seconds."""
    return pl.col(column).map_batches(
        lambda moments: pl.Series(day_numbers(moments.to_numpy(), zone)), return_dtype=pl.Int64
    )
