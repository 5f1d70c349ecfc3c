"""Point-in-time features of exposures, and the masking that teaches the models the unknown visitor.

What a visitor's clicks say at time t (top_category, clicks_24h, hours_since_click) is defined by
``activity.activity_features``, and which of them are remembered by ``activity.history``; here the
same is computed for a whole day at once. An item's popularity is its clicks on the day before.
Nothing at or after t takes part: neither the row's own outcome nor another event of its second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import cast

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_assets.columns import (
    AGE,
    CATEGORY_CLICKS_7D,
    CATEGORY_CLICKS_24H,
    CATEGORY_L1,
    CATEGORY_L2,
    CLICK,
    CLICKS_7D,
    CLICKS_24H,
    DEVICE_TYPE,
    EVENT_ID,
    EVENT_TYPE,
    EXPOSURE_EVENTS,
    GENDER,
    HOURS_SINCE_CLICK,
    IMPRESSION,
    INTERACTION_FEATURES,
    ITEM_CLICKS,
    ITEM_GENDER,
    ITEM_ID,
    LOOK_BACK_HOURS,
    MISSING,
    PRICE,
    RECENT_CATEGORIES,
    RECENT_TIMESTAMPS,
    TIMESTAMP,
    TOP_CATEGORY,
    USER_ID,
    VIEW,
)
from recsys_assets.lib.features.activity import (
    HISTORY_SECONDS,
    RECENT_CLICKS,
    SECONDS_PER_HOUR,
    WINDOW_SECONDS,
    activity_features,
    top_category,
)
from recsys_assets.partitions import day_bounds, previous_day

__all__ = [
    "RECENT_CLICKS",
    "WINDOW_SECONDS",
    "FeatureError",
    "activity_features",
    "interaction_features",
    "item_popularity",
    "mask",
    "top_category",
]
HISTORY = "categories"  # the column of ``click_history`` beside event_id

NEEDED = (EVENT_ID, USER_ID, ITEM_ID, TIMESTAMP, EVENT_TYPE)  # of the days before
#: Share of training rows whose visitor is made unknown, and, independently, whose device is.
USER_MASK_RATE, DEVICE_MASK_RATE = 0.05, 0.05
#: What a row says of a visitor of whom nothing is known, as serving does.
UNKNOWN_VISITOR = {
    USER_ID: MISSING,
    GENDER: MISSING,
    TOP_CATEGORY: MISSING,
    AGE: None,
    CLICKS_24H: 0.0,
    HOURS_SINCE_CLICK: float(LOOK_BACK_HOURS),
    CLICKS_7D: 0.0,
    CATEGORY_CLICKS_7D: 0.0,
    CATEGORY_CLICKS_24H: 0.0,
}


class FeatureError(ValueError):
    """The inputs do not fit together; the message names column, count and an example."""


@dataclass(frozen=True)
class _Clicks:
    """All clicks, ordered by user, time and event id: whatever counts at a moment is one range of
    positions.

    C clicks. ``key`` = user code · span + seconds since ``origin`` ascends, so that two binary
    searches find the range. ``shelf`` = (user code · categories + category) · (C + 1) + position
    ascends too: it counts a category in a range.
    """

    users: pl.DataFrame  # {user_id, code: Int64}
    names: pl.Series  # categories, sorted
    name: np.ndarray  # int64 [C], row of names
    time: np.ndarray  # int64 [C], unix seconds
    code: np.ndarray  # int64 [C]
    key: np.ndarray  # int64 [C]
    shelf: np.ndarray  # int64 [C]
    origin: int
    span: int

    @classmethod
    def of(cls, clicks: pl.DataFrame, earliest: int, latest: int) -> _Clicks:
        """clicks: {event_id, user_id, timestamp, category_l1}; every moment asked for lies within
        [earliest, latest].
        """
        clicks = clicks.sort(USER_ID, TIMESTAMP, EVENT_ID).with_columns(
            code=(pl.col(USER_ID) != pl.col(USER_ID).shift())
            .fill_null(False)
            .cum_sum()
            .cast(pl.Int64)
        )
        names = clicks[CATEGORY_L1].unique().sort()
        name = (
            clicks[CATEGORY_L1]
            .replace_strict(names, pl.int_range(len(names), eager=True))
            .cast(pl.Int64)
            .to_numpy()
        )
        time, code = clicks[TIMESTAMP].to_numpy(), clicks["code"].to_numpy()
        origin = int(time.min(initial=earliest)) - HISTORY_SECONDS
        span = int(time.max(initial=latest)) - origin + 1
        shelf = (code * len(names) + name) * (len(time) + 1) + np.arange(len(time))
        return cls(
            clicks.select(USER_ID, "code").unique(maintain_order=True),
            names,
            name,
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
        """Range [start, end) of positions of each user's clicks in [at − seconds, at), the latest
        RECENT_CLICKS at most.
        """
        moment = code * self.span + at - self.origin
        end = np.searchsorted(self.key, moment, side="left")
        start = np.searchsorted(self.key, moment - seconds, side="left")
        return np.maximum(start, end - RECENT_CLICKS), end

    def of_category(
        self, code: np.ndarray, name: np.ndarray, start: np.ndarray, end: np.ndarray
    ) -> np.ndarray:
        """How many clicks of each range are on a category (row of names; −1 for one that nobody
        clicked).
        """
        base = (code * len(self.names) + np.maximum(name, 0)) * (len(self.time) + 1)
        counted = np.searchsorted(self.shelf, base + end) - np.searchsorted(
            self.shelf, base + start
        )
        return np.where(name < 0, 0, counted)

    def lists(self, start: np.ndarray, end: np.ndarray) -> tuple[pl.Series, pl.Series]:
        """The categories List(String) and times List(Int64) of each range, oldest first."""
        offsets = pa.array(np.concatenate([[0], np.cumsum(end - start)]))
        _, position = _unroll(start, end)
        values = (self.names.gather(self.name[position]).to_arrow(), pa.array(self.time[position]))
        # of an array, from_arrow makes a Series
        categories, times = (
            cast("pl.Series", pl.from_arrow(pa.LargeListArray.from_arrays(offsets, value)))
            for value in values
        )
        return categories.alias(RECENT_CATEGORIES).cast(pl.List(pl.String)), times.alias(
            RECENT_TIMESTAMPS
        )

    def top_categories(self, start: np.ndarray, end: np.ndarray) -> pl.Series:
        """``top_category`` of each range (none empty): it depends on nothing but the clicks in
        it.
        """
        ranges, back = np.unique(start * (len(self.time) + 1) + end, return_inverse=True)
        start, end = ranges // (len(self.time) + 1), ranges % (len(self.time) + 1)
        owner, position = _unroll(start, end)
        best = (
            pl.DataFrame({"owner": owner, "name": self.name[position], "at": self.time[position]})
            .group_by("owner", "name")
            .agg(count=pl.len(), last=pl.col("at").max())
            .sort("owner", "count", "last", "name", descending=[False, True, True, False])
            .unique("owner", keep="first", maintain_order=True)
        )
        return self.names.gather(best["name"].gather(back))


def _unroll(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranges [R] as pairs (number of the range, position in it), in order.

    >>> [a.tolist() for a in _unroll(np.array([4, 0]), np.array([6, 1]))]
    [[0, 0, 1], [4, 5, 0]]
    """
    size = end - start
    owner = np.repeat(np.arange(len(size)), size)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size) + start[owner]


def _activity(clicks: _Clicks, queries: pl.DataFrame) -> pl.DataFrame:
    """What the visitor's clicks say of each query (user_id, timestamp, category_l1 of its item),
    vectorised; Q rows.
    """
    asked = queries.select(USER_ID, TIMESTAMP, CATEGORY_L1).join(
        clicks.users, on=USER_ID, how="left", maintain_order="left"
    )
    rows_asked = asked.height
    hours = np.full(rows_asked, LOOK_BACK_HOURS, np.float32)
    counts = {
        name: np.zeros(rows_asked, np.float32)
        for name in (CLICKS_24H, CLICKS_7D, CATEGORY_CLICKS_7D, CATEGORY_CLICKS_24H)
    }
    # in the order of the clicks: a binary search after its neighbour finds its part of the keys in
    # the cache
    asked = asked.with_row_index("row").drop_nulls("code").sort("code", TIMESTAMP)
    known, code, at = (asked[name].to_numpy() for name in ("row", "code", TIMESTAMP))
    shelf = (
        asked[CATEGORY_L1]
        .replace_strict(
            clicks.names,
            pl.int_range(len(clicks.names), eager=True),
            default=-1,
            return_dtype=pl.Int64,
        )
        .to_numpy()
    )
    remembered, end = clicks.before(code, at, HISTORY_SECONDS)
    start, _ = clicks.before(code, at, WINDOW_SECONDS)
    counts[CLICKS_7D][known] = end - remembered
    counts[CATEGORY_CLICKS_7D][known] = clicks.of_category(code, shelf, remembered, end)
    counts[CLICKS_24H][known] = end - start
    counts[CATEGORY_CLICKS_24H][known] = clicks.of_category(code, shelf, start, end)
    counted = end > start
    rows, at, start, end = known[counted], at[counted], start[counted], end[counted]
    hours[rows] = (at - clicks.time[end - 1]) / SECONDS_PER_HOUR
    names = clicks.top_categories(start, end)
    place = np.full(rows_asked, len(names))
    place[rows] = np.arange(len(names))
    names = pl.concat([names, pl.Series([MISSING], dtype=pl.String)]).gather(place)
    return pl.DataFrame(
        [
            names.alias(TOP_CATEGORY),
            pl.Series(HOURS_SINCE_CLICK, hours),
            *(pl.Series(name, values) for name, values in counts.items()),
        ]
    )


def _click_history(clicks: _Clicks, rows: pl.DataFrame) -> pl.DataFrame:
    """click_history of ``interaction_features``."""
    asked = rows.select(EVENT_ID, USER_ID, TIMESTAMP).join(
        clicks.users, on=USER_ID, how="left", maintain_order="left"
    )
    # who was never seen clicking has an empty range at the front
    code, known = asked["code"].fill_null(0).to_numpy(), asked["code"].is_not_null().to_numpy()
    start, end = clicks.before(code, asked[TIMESTAMP].to_numpy(), HISTORY_SECONDS)
    categories, _ = clicks.lists(np.where(known, start, 0), np.where(known, end, 0))
    return asked.select(EVENT_ID, categories.alias(HISTORY))


def _states(clicks: _Clicks, since: int) -> pl.DataFrame:
    """user_activity of ``interaction_features``: what is known of a visitor right after each click
    from ``since`` on.
    """
    last = np.r_[clicks.key[1:] != clicks.key[:-1], True][
        : len(clicks.key)
    ]  # clicks of one second are one state
    position = np.flatnonzero(last & (clicks.time >= since))
    lists = clicks.lists(
        *clicks.before(clicks.code[position], clicks.time[position] + 1, HISTORY_SECONDS)
    )
    return pl.DataFrame(
        [
            clicks.users[USER_ID].gather(clicks.code[position]),
            pl.Series(TIMESTAMP, clicks.time[position]),
            *lists,
        ]
    )


def item_popularity(interactions: pl.DataFrame, items: pl.DataFrame, day: str) -> pl.DataFrame:
    """Clicks of every item on a day, as the next day's events see them.

    Args:
        interactions: RAW_INTERACTIONS around the day. items: RAW_ITEMS. day: ISO, UTC.

    Returns:
        {item_id, item_clicks: Float32, timestamp: Int64, the end of the day}, one row an item of
        the catalogue (0.0 where nobody clicked it, so that yesterday's count does not live on),
        ordered by item_id.
    """
    start, end = day_bounds(day)
    views = interactions.filter(
        pl.col(EVENT_TYPE) == VIEW, pl.col(TIMESTAMP).is_between(start, end, closed="left")
    )
    counts = views.group_by(ITEM_ID).agg(pl.len().cast(pl.Float32).alias(ITEM_CLICKS))
    return (
        items.select(ITEM_ID)
        .join(counts, on=ITEM_ID, how="left")
        .sort(ITEM_ID)
        .select(ITEM_ID, pl.col(ITEM_CLICKS).fill_null(0.0), pl.lit(end, pl.Int64).alias(TIMESTAMP))
    )


def interaction_features(
    today: pl.DataFrame,
    earlier: pl.DataFrame | None,
    users: pl.DataFrame,
    items: pl.DataFrame,
    day: str,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Features of a day's exposures, and what each visitor's clicks leave behind.

    Args:
        today: RAW_INTERACTIONS of the day. earlier: those of the HISTORY_DAYS before it, or their
            clicks alone (None: the first day of all).
        users: RAW_USERS. A visitor who is not in it has gender MISSING and a null age.
        items: RAW_ITEMS.
        day: ISO, UTC.

    Returns:
        features: INTERACTION_FEATURES, one row an exposure, ordered by (timestamp, event_id).
        click_history: {event_id, categories: List(String)}, a row for each clicked exposure in the
            same order: what ``activity.history`` remembers of its visitor just before it, oldest
                first.
        user_activity: {user_id, timestamp: Int64, recent_categories: List(String),
            recent_timestamps: List(Int64)}, a row for each second in which a visitor clicked on the
                day: the clicks of the HISTORY_DAYS up to and
            including it, oldest first, the latest RECENT_CLICKS at most. Ordered by (user_id,
            timestamp). A row at t uses the latest state strictly before t.

    Raises:
        FeatureError: an interaction names an item that the catalogue lacks.
    """
    history = (
        today.select(NEEDED)
        if earlier is None
        else pl.concat([earlier.select(NEEDED), today.select(NEEDED)])
    )
    unknown = history.join(items, on=ITEM_ID, how="anti")
    if unknown.height:
        raise FeatureError(
            f"item_id: {unknown.height} interactions around {day} name items that the catalogue "
            "lacks, "
            f"for example {unknown[ITEM_ID][0]!r}: materialise raw/items again, or remove these "
            "rows"
        )
    start, end = day_bounds(day)
    # of the days before, the clicks of who is here today; what others did says nothing of today's
    # rows
    here = today.select(USER_ID).unique()
    clicked = (
        history.filter(pl.col(EVENT_TYPE) != IMPRESSION)
        .join(here, on=USER_ID, how="semi")
        .join(items.select(ITEM_ID, CATEGORY_L1), on=ITEM_ID)
    )
    exposures = today.filter(pl.col(EVENT_TYPE).is_in(EXPOSURE_EVENTS)).sort(TIMESTAMP, EVENT_ID)
    moments = exposures[TIMESTAMP].to_numpy()
    clicks = _Clicks.of(clicked, int(moments.min(initial=start)), int(moments.max(initial=end)))
    counts = item_popularity(
        history.clear() if earlier is None else earlier, items, previous_day(day)
    )
    shown = exposures.join(
        items.select(ITEM_ID, CATEGORY_L1, CATEGORY_L2, ITEM_GENDER, PRICE).join(
            counts.select(ITEM_ID, ITEM_CLICKS), on=ITEM_ID
        ),
        on=ITEM_ID,
        how="left",
        maintain_order="left",
    )
    features = (
        shown.with_columns(_activity(clicks, shown))
        .join(users.select(USER_ID, AGE, GENDER), on=USER_ID, how="left", maintain_order="left")
        .with_columns(pl.col(GENDER).fill_null(MISSING), pl.col(AGE).cast(pl.Float32))
        .select(*INTERACTION_FEATURES)
    )
    return (
        features,
        _click_history(clicks, features.filter(pl.col(CLICK) == 1)),
        _states(clicks, start),
    )


def mask(features: pl.DataFrame, day: str, seed: int) -> pl.DataFrame:
    """Training rows (INTERACTION_FEATURES) as if some visitors, and some devices, were unknown.

    In USER_MASK_RATE of the rows the visitor becomes what a cold one is online (UNKNOWN_VISITOR);
    in an independent DEVICE_MASK_RATE device_type becomes MISSING. The same for the same rows, day
    and seed.
    """
    rng = np.random.default_rng([seed, date.fromisoformat(day).toordinal(), 6])
    visitor = pl.lit(pl.Series(rng.random(features.height) < USER_MASK_RATE))
    device = pl.lit(pl.Series(rng.random(features.height) < DEVICE_MASK_RATE))
    return features.with_columns(
        *(
            pl.when(visitor)
            .then(pl.lit(value, features.schema[column]))
            .otherwise(pl.col(column))
            .alias(column)
            for column, value in UNKNOWN_VISITOR.items()
        ),
        pl.when(device).then(pl.lit(MISSING)).otherwise(pl.col(DEVICE_TYPE)).alias(DEVICE_TYPE),
    )
