"""Find, count and list visitors' clicks before a moment, for many moments at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_assets.columns import (
    CATEGORY_L1,
    EVENT_ID,
    ITEM_ID,
    RECENT_CATEGORIES,
    RECENT_ITEMS,
    RECENT_TIMESTAMPS,
    SECONDS_PER_HOUR,
    TIMESTAMP,
    USER_ID,
)
from recsys_assets.lib.features.activity import RECENT_CLICKS


@dataclass(frozen=True)
class ClickRanges:
    """Holds C clicks by user, time and item; each moment's clicks are one range.

    The online store knows seconds and no event ids, so the item orders the clicks of a second there
    and here (``recent_clicks.in_order``). Its lists may end within one, such as that of an order.

    ``key`` = user code · span + seconds since ``origin`` ascends, so that two binary searches find
    a range of positions. ``shelf`` = (user code · categories + category) · (C + 1) + position
    ascends too, so that two binary searches count a category in a range.
    """

    users: pl.DataFrame  # {user_id, code: Int64}
    names: pl.Series  # categories, sorted
    name: np.ndarray  # int64 [C], row of names
    items: pl.Series  # item ids, sorted
    item: np.ndarray  # int64 [C], row of items
    time: np.ndarray  # int64 [C], unix seconds
    code: np.ndarray  # int64 [C]
    key: np.ndarray  # int64 [C]
    shelf: np.ndarray  # int64 [C]
    origin: int
    span: int

    @classmethod
    def of(cls, clicks: pl.DataFrame, earliest: int, latest: int, longest: int) -> ClickRanges:
        """Sort and index clicks.

        Args:
            clicks: {event_id, user_id, item_id, timestamp, category_l1}.
            earliest: unix seconds of the first moment that will be looked up.
            latest: unix seconds of the last such moment.
            longest: seconds of the longest window that will be looked up.
        """
        clicks = clicks.sort(USER_ID, TIMESTAMP, ITEM_ID, EVENT_ID).with_columns(
            code=(pl.col(USER_ID) != pl.col(USER_ID).shift())
            .fill_null(False)
            .cum_sum()
            .cast(pl.Int64)
        )
        (names, name), (items, item) = map(_coded, (clicks[CATEGORY_L1], clicks[ITEM_ID]))
        time, code = clicks[TIMESTAMP].to_numpy(), clicks["code"].to_numpy()
        origin = int(time.min(initial=earliest)) - longest
        span = int(time.max(initial=latest)) - origin + 1
        shelf = (code * len(names) + name) * (len(time) + 1) + np.arange(len(time))
        return cls(
            clicks.select(USER_ID, "code").unique(maintain_order=True),
            names,
            name,
            items,
            item,
            time,
            code,
            code * span + time - origin,
            np.sort(shelf),
            origin,
            span,
        )

    def before(
        self, code: np.ndarray, at: np.ndarray, seconds: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ranges [start, end) of the clicks in [at − seconds, at).

        Each range has the latest RECENT_CLICKS clicks at most.

        Args:
            code: user codes, int64 [Q].
            at: unix seconds, int64 [Q].
            seconds: length of the window, at most the ``longest`` of ``of``.
        """
        moment = code * self.span + at - self.origin
        end = np.searchsorted(self.key, moment, side="left")
        start = np.searchsorted(self.key, moment - seconds, side="left")
        return np.maximum(start, end - RECENT_CLICKS), end

    def of_category(
        self, code: np.ndarray, name: np.ndarray, start: np.ndarray, end: np.ndarray
    ) -> np.ndarray:
        """Return how many clicks of each range are on a category.

        Args:
            code: user codes, int64 [Q].
            name: rows of ``names``, int64 [Q]; −1 for a category without clicks.
            start: first position of each range, [Q].
            end: last position of each range + 1, [Q].
        """
        base = (code * len(self.names) + np.maximum(name, 0)) * (len(self.time) + 1)
        counted = np.searchsorted(self.shelf, base + end) - np.searchsorted(
            self.shelf, base + start
        )
        return np.where(name < 0, 0, counted)

    def lists(self, start: np.ndarray, end: np.ndarray) -> tuple[pl.Series, pl.Series, pl.Series]:
        """Return the clicks of each range, oldest first.

        Returns:
            Categories List(String), items List(String) and times List(Int64).
        """
        offsets = np.concatenate([[0], np.cumsum(end - start)])
        _, position = unroll(start, end)
        categories = self.names.gather(self.name[position]).to_arrow()
        items = self.items.gather(self.item[position]).to_arrow()
        return (
            _lists(offsets, categories, pl.String).alias(RECENT_CATEGORIES),
            _lists(offsets, items, pl.String).alias(RECENT_ITEMS),
            _lists(offsets, pa.array(self.time[position]), pl.Int64).alias(RECENT_TIMESTAMPS),
        )

    def items_and_ages(
        self, start: np.ndarray, end: np.ndarray, at: np.ndarray
    ) -> tuple[pl.Series, pl.Series]:
        """Return the items of each range and the hours from each click to a moment, oldest first.

        Args:
            start: first position of each range, [Q].
            end: last position of each range + 1, [Q].
            at: unix seconds of each range's moment, int64 [Q].

        Returns:
            Items List(String) and ages List(Float32).
        """
        offsets = np.concatenate([[0], np.cumsum(end - start)])
        owner, position = unroll(start, end)
        ages = (at[owner] - self.time[position]) / SECONDS_PER_HOUR
        return (
            _lists(offsets, self.items.gather(self.item[position]).to_arrow(), pl.String),
            _lists(offsets, pa.array(ages.astype(np.float32)), pl.Float32),
        )

    def top_categories(self, start: np.ndarray, end: np.ndarray) -> pl.Series:
        """Return ``activity.top_category`` of each range; no range may be empty."""
        # The result depends only on the clicks of a range, so each distinct range is computed once.
        ranges, back = np.unique(start * (len(self.time) + 1) + end, return_inverse=True)
        start, end = ranges // (len(self.time) + 1), ranges % (len(self.time) + 1)
        owner, position = unroll(start, end)
        best = (
            pl.DataFrame({"owner": owner, "name": self.name[position], "at": self.time[position]})
            .group_by("owner", "name")
            .agg(count=pl.len(), last=pl.col("at").max())
            .sort("owner", "count", "last", "name", descending=[False, True, True, False])
            .unique("owner", keep="first", maintain_order=True)
        )
        return self.names.gather(best["name"].gather(back))


def _lists(offsets: np.ndarray, values: pa.Array, kind: type[pl.DataType]) -> pl.Series:
    """Return R lists of values, List(kind); offsets: int64 [R + 1]."""
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), values)
    # from_arrow returns a Series for an array
    return cast("pl.Series", pl.from_arrow(lists)).cast(pl.List(kind))


def _coded(values: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """Return the distinct values, sorted, and the row of each value in them, int64 [C]."""
    distinct = values.unique().sort()
    rows = values.replace_strict(distinct, pl.int_range(len(distinct), eager=True))
    return distinct, rows.cast(pl.Int64).to_numpy()


def unroll(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (number of the range, position) for each position of R ranges, in order.

    >>> [a.tolist() for a in unroll(np.array([4, 0]), np.array([6, 1]))]
    [[0, 0, 1], [4, 5, 0]]
    """
    size = end - start
    owner = np.repeat(np.arange(len(size)), size)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size) + start[owner]
