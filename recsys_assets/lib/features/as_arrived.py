"""Give each query the clicks that had arrived at its moment.

A visitor's clicks before a moment are one range of a sorted array (``click_ranges``), as long as
each click arrives in time. Late clicks break this: what was known at noon is not a part of what is
known in the evening. So a visitor with late clicks becomes several: one per *state*, the time
between two arrivals of late clicks. Each has a copy of the clicks that its queries can count, and
its queries. All others stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys_assets.columns import TIMESTAMP, USER_ID
from recsys_assets.lib.features.activity import RECENT_CLICKS
from recsys_assets.lib.features.click_ranges import unroll
from recsys_assets.lib.landing.arrivals import SINCE

#: Separates visitor and state; a contract refuses ids with control characters.
_STATE = "\x00"


@dataclass(frozen=True)
class _Sorted:
    """Holds moments by visitor and time, in one ascending key."""

    code: np.ndarray  # int64 [N], ascending
    key: np.ndarray  # int64 [N], code · span + moment − origin
    origin: int
    span: int

    def before(self, code: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Return how many moments of all visitors sort before a visitor's moment, int64 [Q]."""
        key: np.ndarray = code * self.span + at - self.origin
        return np.searchsorted(self.key, key, side="left")

    def first(self, code: np.ndarray) -> np.ndarray:
        """Return the position of each visitor's first moment, int64 [Q]."""
        return np.searchsorted(self.code, code, side="left")


def as_arrived(clicks: pl.DataFrame, queries: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Return clicks and the visitors of queries, so that ranges by time hold what had arrived.

    A query at t may count a click of time < t with SINCE < t, of these the latest RECENT_CLICKS.

    Args:
        clicks: {event_id, user_id, timestamp, since, …}, in any order.
        queries: {user_id, timestamp}, Q rows.

    Returns:
        The clicks, where visitors with late clicks have one copy per state, without clicks that no
        query can count; and the user id of each query, String [Q], which names the state.
    """
    late = clicks.filter(pl.col(SINCE) > pl.col(TIMESTAMP))
    asked = queries[USER_ID]
    if late.is_empty():
        return clicks, asked
    users = late.select(pl.col(USER_ID).unique().sort()).with_row_index("code")
    users = users.with_columns(pl.col("code").cast(pl.Int64))
    theirs = (
        queries.select(USER_ID, TIMESTAMP).with_row_index("row").join(users, on=USER_ID).sort("row")
    )
    coded = clicks.join(users, on=USER_ID, how="left", maintain_order="left")
    own, others = (
        coded.drop_nulls("code").sort("code", TIMESTAMP),
        coded.filter(pl.col("code").is_null()).drop("code"),
    )
    if theirs.is_empty():
        return others, asked
    code, at = theirs["code"].to_numpy(), theirs[TIMESTAMP].to_numpy()
    # one origin and one span for all keys, over all moments that occur
    low = min(int(at.min()), int(own[TIMESTAMP].min()))  # type: ignore[arg-type]
    high = max(int(at.max()), int(own[SINCE].max()))  # type: ignore[arg-type]

    def ordered(frame: pl.DataFrame, moment: str) -> _Sorted:
        codes, moments = frame["code"].to_numpy(), frame[moment].to_numpy()
        span = high - low + 2
        return _Sorted(codes, codes * span + moments - low, low, span)

    times = ordered(own, TIMESTAMP)
    own_late = own.filter(pl.col(SINCE) > pl.col(TIMESTAMP))
    arrivals, late_times = (
        ordered(own_late.sort("code", SINCE), SINCE),
        ordered(own_late, TIMESTAMP),
    )
    # a state is known by how many late clicks of all visitors have arrived before it
    arrived = arrivals.before(code, at)
    state = code * (own_late.height + 1) + arrived
    order = np.lexsort((at, state))
    starts = np.flatnonzero(np.r_[True, np.diff(state[order]) != 0])
    of = np.empty(len(state), np.int64)
    of[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(state)]))
    first, last = order[starts], order[np.r_[starts[1:], len(state)] - 1]
    visitor, earliest, latest = code[first], at[first], at[last]
    # of the clicks before a state's first query, the latest ones, and those that are not there yet
    coming = late_times.before(visitor, earliest) - late_times.first(visitor)
    coming -= arrived[first] - arrivals.first(visitor)
    begin = np.maximum(
        times.before(visitor, earliest) - RECENT_CLICKS - coming, times.first(visitor)
    )
    # with all clicks of its second: which of them is the latest is not decided here
    begin = np.searchsorted(times.key, times.key[np.minimum(begin, own.height - 1)], side="left")
    owner, position = unroll(begin, times.before(visitor, latest))
    time, since = own[TIMESTAMP].to_numpy()[position], own[SINCE].to_numpy()[position]
    there = (since == time) | (since < earliest[owner])
    states = pl.DataFrame({"code": visitor}).join(users, on="code", maintain_order="left")
    names = states.select(
        pl.concat_str(USER_ID, pl.lit(_STATE), pl.int_range(pl.len()).cast(pl.String))
    ).to_series()
    copies = own[position[there]].with_columns(names.gather(owner[there]).alias(USER_ID))
    return (
        pl.concat([others, copies.select(others.columns)]),
        asked.scatter(theirs["row"], names.gather(of)),
    )
