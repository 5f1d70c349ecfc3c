"""Arranges the clicks of a window so that a visitor's clicks before a moment are one range.

Counts by local day (``daily``) are what a nightly batch system has. All else is point-in-time: a
query has the clicks strictly before its second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys_assets.columns import (
    EVENT_TYPE,
    ITEM_ID,
    MISSING,
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    TIMESTAMP,
    USER_ID,
    VIEW,
)
from recsys_assets.lib.features.click_ranges import unroll
from recsys_assets.local_time import UTC, local_days

#: Half-lives after which a click of a profile fades no further, so that float32 can hold it.
_FADED = 100.0
#: Half-lives that ``ClickLog.streamed`` counts through at once; float64 holds 2 to this power.
_STREAMED = 500.0


def days_of(frame: pl.DataFrame, zone: str = UTC) -> np.ndarray:
    """Return the local day of each row, in days since 1970, int64 [N]."""
    days: np.ndarray = local_days(frame[TIMESTAMP].to_numpy(), zone)
    return days


def faded(age: np.ndarray, half_life: float) -> np.ndarray:
    """Return weights that halve every ``half_life``, float64; very old ones stay above 0."""
    weight: np.ndarray = np.exp2(-np.minimum(age / half_life, _FADED))
    return weight


@dataclass(frozen=True)
class ClickLog:
    """Holds clicks on I items: C of U known visitors, A in all, over D days in a row.

    Without a click, C, U, A and D are 0.

    The C clicks are ordered by visitor and time, the A clicks by time. Clicks without a user id
    (MISSING) are in ``daily`` and ``stream_…`` only, because they are not of one person.
    """

    users: pl.DataFrame  # {user_id, code: Int64}, codes 0 to U - 1
    code: np.ndarray  # int64 [C]
    item: np.ndarray  # int64 [C], row of the catalogue
    time: np.ndarray  # int64 [C], unix seconds
    stream_item: np.ndarray  # int64 [A]
    stream_time: np.ndarray  # int64 [A], ascending
    daily: np.ndarray  # int64 [D, I], clicks of every item on every day
    first_day: int  # days since 1970
    zone: str = UTC  # of the days

    @classmethod
    def of(
        cls,
        interactions: pl.DataFrame | pl.LazyFrame,
        item_ids: Sequence[str] | np.ndarray,
        zone: str = UTC,
    ) -> ClickLog:
        """Arrange the clicks of a log.

        Args:
            interactions: RAW_INTERACTIONS of the window.
            item_ids: [I], the catalogue in order; clicks on other items are left out.
            zone: the shop's time zone.
        """
        rows = pl.DataFrame(
            {ITEM_ID: list(item_ids), "row": np.arange(len(item_ids))},
            schema={ITEM_ID: pl.String, "row": pl.Int64},
        )
        clicks = (
            interactions.lazy()
            .filter(pl.col(EVENT_TYPE) == VIEW)
            .select(USER_ID, ITEM_ID, TIMESTAMP)
            .collect()
            .join(rows, on=ITEM_ID)
            .sort(TIMESTAMP, "row")
        )
        day, item = days_of(clicks, zone), clicks["row"].to_numpy()
        first = int(day.min()) if len(day) else 0
        days = int(day.max()) - first + 1 if len(day) else 0
        cell = (day - first) * len(item_ids) + item
        daily = np.bincount(cell, minlength=days * len(item_ids)).reshape(days, len(item_ids))
        known = clicks.filter(pl.col(USER_ID) != MISSING)
        users = (
            known.select(pl.col(USER_ID).unique().sort())
            .with_row_index("code")
            .with_columns(pl.col("code").cast(pl.Int64))
        )
        known = known.join(users, on=USER_ID).sort("code", TIMESTAMP, "row")
        return cls(
            users,
            known["code"].to_numpy(),
            known["row"].to_numpy(),
            known[TIMESTAMP].to_numpy(),
            item,
            clicks[TIMESTAMP].to_numpy(),
            daily,
            first,
            zone,
        )

    @property
    def items(self) -> int:
        """Number of items of the catalogue."""
        return int(self.daily.shape[1])

    @cached_property
    def moment(self) -> np.ndarray:
        """Number of each click's moment, int64 [C]; clicks of one visitor and second share it."""
        changes = (np.diff(self.code) != 0) | (np.diff(self.time) != 0)
        return np.concatenate([np.zeros(min(len(self.code), 1), np.int64), np.cumsum(changes)])

    # --- parts of the log
    def before(self, day: int) -> ClickLog:
        """Return the clicks before ``day`` (since 1970), with the same visitors and items."""
        early = local_days(self.stream_time, self.zone) < day
        return replace(
            self._of(local_days(self.time, self.zone) < day),
            stream_item=self.stream_item[early],
            stream_time=self.stream_time[early],
            daily=self.daily[: max(day - self.first_day, 0)],
        )

    def sampled(self, most_users: int, seed: int) -> ClickLog:
        """Return the log with the clicks of at most ``most_users`` visitors, drawn by ``seed``.

        The counts of all visitors stay as they are.
        """
        present = np.unique(self.code)
        if len(present) <= most_users:
            return self
        drawn = np.random.default_rng(seed).permutation(present)[:most_users]
        return self._of(np.isin(self.code, drawn))

    def _of(self, kept: np.ndarray) -> ClickLog:
        """Return the log with some clicks of known visitors; the other counts stay."""
        return replace(self, code=self.code[kept], item=self.item[kept], time=self.time[kept])

    def matrix(self) -> sp.csr_matrix:
        """Return ones where a visitor clicked an item, float32 [U', I].

        Visitors without a click have no row.
        """
        present, row = np.unique(self.code, return_inverse=True)
        clicked = sp.csr_matrix(
            (np.ones(len(row), np.float32), (row, self.item)), shape=(len(present), self.items)
        )
        clicked.sum_duplicates()
        clicked.data[:] = 1.0
        return clicked

    # --- clicks of all visitors
    def recent(self, day: int, half_life: float, window: int | None = None) -> np.ndarray:
        """Return the weighted clicks of every item before ``day`` (since 1970), float64 [I].

        Args:
            day: days since 1970.
            half_life: days after which a click weighs half.
            window: count only this many days before ``day``; None: all.
        """
        end = min(max(day - self.first_day, 0), len(self.daily))
        age = (day - self.first_day - 1) - np.arange(end)
        weight = np.where(age < (window or np.inf), 0.5 ** (age / half_life), 0.0)
        clicks: np.ndarray = weight @ self.daily[:end]
        return clicks

    def streamed(self, at: np.ndarray, half_life: float) -> np.ndarray:
        """Return the weighted clicks of every item before each moment, float64 [N, I].

        Args:
            at: unix seconds, int64 [N].
            half_life: hours after which a click weighs half.
        """
        moments, of = np.unique(at, return_inverse=True)
        seconds = half_life * SECONDS_PER_HOUR
        if not len(moments):
            return np.zeros((0, self.items))
        part = (moments - moments[0]) // (_STREAMED * seconds)
        counts = [
            self._streamed(moments[start:end], seconds)
            for start, end in zip(*_runs(part), strict=True)
        ]
        # copies of a large catalogue cost more than the sums
        whole = counts[0] if len(counts) == 1 else np.concatenate(counts)
        return whole if np.array_equal(of, np.arange(len(whole))) else whole[of]

    def _streamed(self, moments: np.ndarray, seconds: float) -> np.ndarray:
        """Return ``streamed`` of ascending moments, at most _STREAMED half-lives apart."""
        first = moments[0]
        end = np.searchsorted(self.stream_time, moments)
        # a click more than 1,074 half-lives ago weighs 0 in float64
        start = np.searchsorted(self.stream_time, first - 1_074 * seconds)
        weight = np.exp2((self.stream_time[start : end[-1]] - first) / seconds)
        item = self.stream_item[start : end[-1]]
        old = int(end[0] - start)
        # a click counts from the first moment after it on
        row = np.searchsorted(end, np.arange(end[0], end[-1]), side="right")
        added = sp.csr_matrix(
            (weight[old:], (row, item[old:])), shape=(len(moments), self.items)
        ).toarray()
        added[0] += np.bincount(item[:old], weight[:old], minlength=self.items)
        counts: np.ndarray = np.cumsum(added, axis=0, out=added)
        counts *= np.exp2((first - moments) / seconds)[:, None]
        return counts

    # --- clicks of a visitor
    def codes(self, user_ids: pl.Series) -> np.ndarray:
        """Return each visitor's code, int64 [N]; -1 where MISSING or without a click."""
        asked = pl.DataFrame({USER_ID: user_ids.cast(pl.String)})
        return (
            asked.join(self.users, on=USER_ID, how="left", maintain_order="left")["code"]
            .fill_null(-1)
            .to_numpy()
        )

    def spans(self, code: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the range [start, end) of each visitor's clicks before a moment, int64 [N] each.

        Args:
            code: int64 [N], of ``codes``; a visitor of -1 has none.
            at: unix seconds, int64 [N]; a click in this second does not count.
        """
        key, origin, span = self._ordered
        start = np.searchsorted(key, code * span)
        asked = code * span + np.clip(at - origin, 0, span - 1)
        return start, np.where(code < 0, start, np.searchsorted(key, asked))

    @cached_property
    def _ordered(self) -> tuple[np.ndarray, int, int]:
        """An ascending number of each click's visitor and second, its origin and its span."""
        origin = int(self.time.min()) if len(self.time) else 0
        span = int(self.time.max(initial=0)) - origin + 2
        return self.code * span + (self.time - origin), origin, span

    def profiles(self, code: np.ndarray, at: np.ndarray, half_life: float) -> sp.csr_matrix:
        """Return the weighted clicks of each visitor before a moment, float32 [N, I].

        The latest click weighs 1.

        Args:
            code: int64 [N], as in ``spans``.
            at: unix seconds, int64 [N].
            half_life: days after which a click weighs half.
        """
        start, end = self.spans(code, at)
        owner, position = unroll(start, end)
        age = (self.time[end[owner] - 1] - self.time[position]) / SECONDS_PER_DAY
        return self._weighted(start, end, position, faded(age, half_life))

    def latest(self, code: np.ndarray, at: np.ndarray, most: int, decay: float) -> sp.csr_matrix:
        """Return the latest clicks of each visitor, weighted by place, float32 [N, I].

        The clicks of the latest moment weigh 1, those of the moment before ``decay``, and so on.

        Args:
            code: int64 [N], as in ``spans``.
            at: unix seconds, int64 [N].
            most: clicks per visitor.
            decay: weight per place, 0 to 1.
        """
        start, end = self.spans(code, at)
        start = np.maximum(start, end - most)
        owner, position = unroll(start, end)
        place = self.moment[end[owner] - 1] - self.moment[position]
        return self._weighted(start, end, position, decay**place)

    def _weighted(
        self, start: np.ndarray, end: np.ndarray, position: np.ndarray, weight: np.ndarray
    ) -> sp.csr_matrix:
        """Return the weights of the clicks at ``position``, summed per range and item."""
        indptr = np.concatenate([[0], np.cumsum(end - start)])
        weights = sp.csr_matrix(
            (weight.astype(np.float32), self.item[position], indptr), shape=(len(start), self.items)
        )
        weights.sum_duplicates()
        return weights


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the runs of equal values.

    >>> [a.tolist() for a in _runs(np.array([0, 0, 3]))]
    [[0, 2], [2, 3]]
    """
    start = np.flatnonzero(np.diff(values, prepend=-1))
    return start, np.append(start[1:], len(values))[: len(start)]
