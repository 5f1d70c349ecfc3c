"""Compare the tables of two engines: a speed counts only with an equal result."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.lib.figures.series import number

TOLERANCE = 1e-6


def in_order(folder: Path) -> list[Path]:
    """Return a folder's Parquet files by the number in their name.

    NVTabular writes part_10 after part_9.
    """
    return sorted(
        folder.glob("*.parquet"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)]
    )


def largest_difference(
    ours: Sequence[Path], theirs: Sequence[Path], columns: Sequence[str]
) -> dict[str, float]:
    """Compare all rows, one column at a time, so that memory holds two columns.

    Returns:
        column → largest absolute difference.

    Raises:
        BenchFailed: the numbers of rows differ, an integer differs, a value is null, or a float
            differs by more than 1e-6. The message names column and count.
    """
    found = {}
    for column in columns:
        a, b = (pl.read_parquet(list(files), columns=[column])[column] for files in (ours, theirs))
        if len(a) != len(b):
            raise BenchFailed(f"the compiled transform wrote {len(a)} rows, NVTabular {len(b)}")
        apart = (a.cast(pl.Float64) - b.cast(pl.Float64)).abs()
        limit = 0.0 if a.dtype.is_integer() else TOLERANCE
        differing = int((~(apart <= limit).fill_null(False)).sum())
        if differing:
            raise BenchFailed(
                f"{column}: {differing} of {len(a)} rows differ between the compiled transform and "
                f"NVTabular by more than {limit}, by up to {apart.max()!r}; run "
                "test_features_million_rows.py"
            )
        found[column] = number(apart.max())
    return found
