"""Keep the accepted rows of a log on disk, by day."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl

from recsys_assets import local_time
from recsys_assets.columns import TIMESTAMP
from recsys_assets.lib.landing.local_days import local_day

SPILL_ROWS = 400_000


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
