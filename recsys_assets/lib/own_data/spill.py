"""Keep the accepted rows of a log on disk by day, and find days that are no part of its history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import polars as pl

from recsys_assets import local_time
from recsys_assets.columns import TIMESTAMP
from recsys_assets.lib.landing.local_days import local_day

SPILL_ROWS = 400_000
#: A log's first days that hold at most STRAY_SHARE of its rows, before a gap of more than STRAY_GAP
#: days, are no part of the shop's history: a wrong clock, or a test.
STRAY_GAP, STRAY_SHARE = 31, 0.05


class Spill:
    """Keeps accepted rows on disk, by day of the zone."""

    def __init__(self, folder: Path, zone: str) -> None:
        self._folder, self._buffer, self._rows, self._parts = folder, list[pl.DataFrame](), 0, 0
        self._zone = zone
        self.rows: Counter[str] = Counter()  # day → rows that were written

    def add(self, frame: pl.DataFrame) -> None:
        """Add rows; write them once SPILL_ROWS are in memory."""
        self._buffer.append(frame)
        self._rows += frame.height
        if self._rows >= SPILL_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write all rows that are in memory."""
        if not self._rows:
            return
        rows = pl.concat(self._buffer, how="diagonal").with_columns(
            day=local_day(pl.col(TIMESTAMP), self._zone)
        )
        for (day,), part in rows.partition_by("day", as_dict=True, include_key=False).items():
            folder = self._folder / local_time.day_name(day)
            self.rows[folder.name] += part.height
            folder.mkdir(parents=True, exist_ok=True)
            part.write_parquet(
                folder / f"{self._parts:06d}.parquet", compression="lz4", statistics=False
            )
        self._buffer, self._rows, self._parts = [], 0, self._parts + 1

    def days(self) -> list[Path]:
        """Return the folders of the days, sorted."""
        return sorted(self._folder.iterdir()) if self._folder.is_dir() else []


def stray_days(rows: Mapping[str, int]) -> list[str]:
    """Return the few old days before a long gap, which are no part of the shop's history.

    Args:
        rows: day → rows.

    >>> stray_days({"1999-01-01": 1, "2026-01-01": 30, "2026-01-02": 30})
    ['1999-01-01']
    """
    days, before, strays = sorted(rows), 0, 0
    for place, (one, following) in enumerate(pairwise(days), start=1):
        before += rows[one]
        if before > STRAY_SHARE * sum(rows.values()):
            break
        empty = local_time.day_number(following) - local_time.day_number(one) - 1
        if empty > STRAY_GAP:
            strays = place
    return days[:strays]
