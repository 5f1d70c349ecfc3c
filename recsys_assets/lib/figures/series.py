"""Convert statistics of Polars columns to numbers."""

from __future__ import annotations

from typing import Any

import polars as pl


def number(statistic: Any) -> float:
    """Return a statistic of a numeric column as a float; 0 if there is no value.

    Polars types a column's mean, median, minimum and maximum as any value that a column can hold.

    >>> number(None), number(3)
    (0.0, 3.0)
    """
    return float(statistic or 0.0)


def mean(values: pl.Series) -> float | None:
    """Return the mean of a numeric or Boolean column; None without a value.

    >>> mean(pl.Series([], dtype=pl.Float64)), mean(pl.Series([True, False]))
    (None, 0.5)
    """
    found: Any = values.mean()
    return None if found is None else float(found)
