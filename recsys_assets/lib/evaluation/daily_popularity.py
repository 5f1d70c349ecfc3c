"""Reads the popularity of items on each of several days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.features.transforms import log_count
from recsys_assets.local_time import UTC, local_days


@dataclass(frozen=True)
class DailyPopularity:
    """Holds item_popularity of D days in a row: log counts of the day before each."""

    first: int  # day since 1970 of row 0
    values: np.ndarray  # float32 [D, I']
    zone: str = UTC  # of the days

    @classmethod
    def read(
        cls, days_before: Sequence[Artifact], item_ids: Sequence[str], zone: str = UTC
    ) -> DailyPopularity:
        """Read ``features/interactions`` of the days before.

        Items outside ``item_ids`` are left out; items without clicks have 0.

        Raises:
            ValueError: the artifacts are not of days in a row.
        """
        counts = pl.concat(
            [pl.read_parquet(artifact.path("item_popularity.parquet")) for artifact in days_before]
        )
        days = np.unique(local_days(counts[c.TIMESTAMP].to_numpy(), zone))
        if len(days) != len(days_before) or np.any(np.diff(days) != 1):
            raise ValueError(
                f"item_popularity of {len(days_before)} days gives the days {days.tolist()} since "
                "1970; give features/interactions of days in a row"
            )
        known = counts.join(
            pl.DataFrame({c.ITEM_ID: item_ids}, schema={c.ITEM_ID: pl.String}).with_row_index(
                "item"
            ),
            on=c.ITEM_ID,
        )
        values = np.zeros((len(days), len(item_ids)), np.float32)
        values[
            local_days(known[c.TIMESTAMP].to_numpy(), zone) - days[0], known["item"].to_numpy()
        ] = known[c.ITEM_CLICKS].to_numpy()
        return cls(int(days[0]), log_count(values), zone)

    def rows(self, timestamp: np.ndarray) -> np.ndarray:
        """Return the row of ``values`` for each moment, int64 [n].

        Raises:
            ValueError: it lacks a day; the message names it.
        """
        rows: np.ndarray = local_days(timestamp, self.zone) - self.first
        if (outside := (rows < 0) | (rows >= len(self.values))).any():
            raise ValueError(
                f"popularity is known for {len(self.values)} days from day {self.first} since 1970 "
                f"on, not for {np.unique(rows[outside] + self.first).tolist()}; give "
                "features/interactions of the day before each"
            )
        return rows
