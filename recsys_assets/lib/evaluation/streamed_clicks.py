"""Replay the clicks of all visitors, so that each query has the items that were popular then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from recsys_assets.columns import ITEM_ID, SECONDS_PER_HOUR, TIMESTAMP
from recsys_assets.lib.evaluation.item_rows import rows_in
from recsys_assets.lib.features.counted_clicks import counted
from recsys_assets.lib.sources.forward_decay import PERIOD, period_start, weights
from recsys_assets.lib.sources.sources import highest
from recsys_assets.lib.sources.union import LISTED

if TYPE_CHECKING:
    from recsys_assets.lib.evaluation.queries import Queries


@dataclass(frozen=True)
class StreamedClicks:
    """Holds the clicks that count for what is popular now, by time.

    A query has the clicks strictly before its second. The sums are those of the online counts, to
    the bit where clicks arrive in order. It is state and not a fit, so the judged release and the
    one that serves read the same clicks. Online, the lowest counts of a large catalogue are
    dropped; here none is.
    """

    item: np.ndarray  # int64 [A], row of the item
    time: np.ndarray  # int64 [A], unix seconds, ascending
    items: int
    #: lists of the queries that were asked last, by half-life
    _asked: dict[int, tuple[Queries, np.ndarray]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, clicks: pl.DataFrame, item_ids: Sequence[str] | np.ndarray) -> StreamedClicks:
        """Arrange clicks.

        Args:
            clicks: {user_id, item_id, timestamp}, without impressions; those on other items than
                ``item_ids`` are left out.
            item_ids: in the order of the rows.
        """
        clicks = counted(clicks)
        names = clicks[ITEM_ID].unique()
        row = rows_in(names.to_list(), item_ids)
        item = clicks[ITEM_ID].replace_strict(names, row, return_dtype=pl.Int64).to_numpy()
        known = item >= 0
        return cls(item[known], clicks[TIMESTAMP].to_numpy()[known], len(item_ids))

    def asked(self, queries: Queries, half_life: int) -> np.ndarray:
        """Return ``lists`` of all queries; they are made once per ``queries``."""
        found = self._asked.get(half_life)
        if found is None or found[0] is not queries:
            found = (queries, self.lists(queries.frame[TIMESTAMP].to_numpy(), half_life))
            self._asked[half_life] = found
        return found[1]

    def lists(self, at: np.ndarray, half_life: int) -> np.ndarray:
        """Return the most popular items of each moment.

        Args:
            at: unix seconds, int64 [Q].
            half_life: hours.

        Returns:
            rows, int32 [Q, LISTED], best first; of equal counts the lowest rows. -1: no more.
        """
        found = np.full((len(at), LISTED), -1, np.int32)
        order = np.argsort(at, kind="stable")
        period = at[order] // (PERIOD * half_life * SECONDS_PER_HOUR)
        for number in np.unique(period).tolist():
            self._replay(number, at, order[period == number], half_life, found)
        return found

    def _replay(
        self, period: int, at: np.ndarray, rows: np.ndarray, half_life: int, found: np.ndarray
    ) -> None:
        """Write the lists of the moments of one period; rows: of ``at``, by time.

        Counts only grow, so an item outside the list enters it only when it is clicked. A step
        therefore costs as much as its clicks, however large the catalogue is.
        """
        start = period_start(period, half_life)
        done = int(np.searchsorted(self.time, period_start(period - 1, half_life)))
        counts, best = np.zeros(self.items), np.zeros(0, np.int64)
        ends = np.searchsorted(self.time, at[rows]).tolist()
        for row, end in zip(rows.tolist(), ends, strict=True):
            if end > done:
                clicked = self.item[done:end]
                # one by one, as the consumer adds: the sums are equal to the bit
                np.add.at(counts, clicked, weights(self.time[done:end], start, half_life))
                candidates = np.union1d(best, clicked)
                best, done = highest(candidates, counts[candidates], LISTED), end
            found[row, : len(best)] = best


@dataclass(frozen=True)
class StreamedLists:
    """Scores the items of each moment's list by their place; no other item is shown."""

    clicks: StreamedClicks  # by rows of the queries' catalogue
    half_life: int  # hours
    name: str = "popular_now"

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the scores of the queries ``rows``, float32 [n, I]."""
        lists = self.clicks.asked(queries, self.half_life)[rows]
        found = np.full((len(rows), queries.items), -np.inf, np.float32)
        query, place = np.nonzero(lists >= 0)
        found[query, lists[query, place]] = LISTED - place
        return found
