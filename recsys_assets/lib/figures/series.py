"""Convert statistics of Polars columns to numbers."""

from __future__ import annotations

from typing import Any


def number(statistic: Any) -> float:
    """Return a statistic of a numeric column as a float; 0 if there is no value.

    Polars types a column's mean, median, minimum and maximum as any value that a column can hold.

    >>> number(None), number(3)
    (0.0, 3.0)
    """
    return float(statistic or 0.0)
