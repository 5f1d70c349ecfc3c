"""Count what visitors were shown and did not click, before each held-out click."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.local_time import local_days

#: Times that the visitor was shown the item without a click, and hours since the last; times that
#: all visitors were shown it in the DAYS before the query's day; log share of these that were
#: clicked. Counts n are log(1 + n).
COLUMNS = ("ignored", "ignored_hours", "shown", "clicked_share")
DAYS = 3
#: Exposures at the mean share that are added to those of each item.
_SMOOTHING = 20.0
#: Hours since an item that was never shown.
_NEVER = 24.0 * 30


@dataclass(frozen=True)
class ShownItems:
    """Holds the exposures of a log, by rows of the vocabulary."""

    ignored: pl.DataFrame  # {user_id, row, at}: impressions of known visitors
    first_day: int  # since 1970
    shown: np.ndarray  # int64 [D + 1, I], exposures of the days before each day
    clicked: np.ndarray  # int64 [D + 1, I], clicks likewise
    zone: str

    @classmethod
    def of(cls, events: pl.DataFrame, vocabulary: list[str], zone: str) -> ShownItems:
        """Count exposures.

        Args:
            events: RAW_INTERACTIONS of the window.
            vocabulary: [I] item ids.
            zone: time zone of the days.
        """
        rows = pl.DataFrame({c.ITEM_ID: vocabulary, "row": np.arange(len(vocabulary))})
        rows = rows.cast({c.ITEM_ID: pl.String, "row": pl.Int64})
        exposures = events.filter(pl.col(c.EVENT_TYPE).is_in(c.EXPOSURE_EVENTS)).join(
            rows, on=c.ITEM_ID
        )
        day = local_days(exposures[c.TIMESTAMP].to_numpy(), zone).astype(np.int64)
        first = int(day.min()) if len(day) else 0
        days = int(day.max()) - first + 1 if len(day) else 0
        clicked = (exposures[c.EVENT_TYPE] == c.VIEW).to_numpy()

        def before(kept: np.ndarray) -> np.ndarray:
            cell = (day[kept] - first) * len(vocabulary) + exposures["row"].to_numpy()[kept]
            counts = np.bincount(cell, minlength=days * len(vocabulary))
            total = counts.reshape(days, len(vocabulary)).cumsum(axis=0)
            return np.concatenate([np.zeros((1, len(vocabulary)), np.int64), total])

        ignored = exposures.filter(
            pl.col(c.EVENT_TYPE) == c.IMPRESSION, pl.col(c.USER_ID) != c.MISSING
        ).select(c.USER_ID, "row", at=pl.col(c.TIMESTAMP))
        return cls(ignored, first, before(np.ones(len(day), bool)), before(clicked), zone)

    def columns(self, asked: Queries, labels: ClickLabels) -> np.ndarray | None:
        """Return COLUMNS of each candidate, float32 [N, 4]; None: the log has no impression."""
        if self.ignored.is_empty():
            return None
        found = np.zeros((len(labels.rows), len(COLUMNS)), np.float32)
        found[:, :2] = self._ignored(asked, labels)
        found[:, 2:] = self._of_items(asked, labels)
        return found

    def _ignored(self, asked: Queries, labels: ClickLabels) -> np.ndarray:
        """Return the first two columns, float32 [N, 2]."""
        asks = asked.frame.select(c.USER_ID, c.TIMESTAMP).with_row_index("query")
        earlier = (
            asks.join(self.ignored, on=c.USER_ID)
            .filter(pl.col("at") < pl.col(c.TIMESTAMP))
            .group_by("query", "row")
            .agg(
                times=pl.len(),
                hours=(pl.col(c.TIMESTAMP) - pl.col("at")).min() / c.SECONDS_PER_HOUR,
            )
        )
        pairs = pl.DataFrame({"query": labels.query, "row": labels.rows})
        pairs = pairs.join(
            earlier.cast({"query": pl.Int64}),
            on=["query", "row"],
            how="left",
            maintain_order="left",
        )
        times, hours = pairs["times"].fill_null(0), pairs["hours"].fill_null(_NEVER)
        return np.log1p(np.stack([times.to_numpy(), hours.to_numpy()], axis=1).astype(np.float32))

    def _of_items(self, asked: Queries, labels: ClickLabels) -> np.ndarray:
        """Return the last two columns, float32 [N, 2]."""
        day = local_days(asked.frame[c.TIMESTAMP].to_numpy(), self.zone) - self.first_day
        last = len(self.shown) - 1
        end, start = day.clip(0, last), (day - DAYS).clip(0, last)
        shown, clicked = (
            total[end[labels.query], labels.rows] - total[start[labels.query], labels.rows]
            for total in (self.shown, self.clicked)
        )
        mean = clicked.sum() / max(shown.sum(), 1)
        share = (clicked + _SMOOTHING * mean + 1e-6) / (shown + _SMOOTHING)
        return np.stack([np.log1p(shown), np.log(share)], axis=1).astype(np.float32)
