"""Figures of Polars columns."""

from __future__ import annotations

from typing import Any


def number(statistic: Any) -> float:
    """Return a mean, median, minimum or maximum of a numeric column as a float; 0 where the column
    has no value.

    Polars cannot say that a numeric column's statistic is a number: it may be of any type that a
    column holds.

    >>> number(None), number(3)
    (0.0, 3.0)
    """
    return float(statistic or 0.0)
