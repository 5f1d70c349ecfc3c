"""Point-in-time features of exposures, and the masking that teaches the models the unknown visitor.

What a visitor's clicks say at time t (top_category, clicks_24h, hours_since_click) is defined by
``activity.activity_features``; here the same is computed for a whole day at once. An item's popularity is its clicks
on the day before. Nothing at or after t takes part: neither the row's own outcome nor another event of its second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from recsys_assets.columns import (
    AGE,
    CATEGORY_L1,
    CATEGORY_L2,
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
from recsys_assets.lib.activity import (
    RECENT_CLICKS,
    SECONDS_PER_HOUR,
    WINDOW_SECONDS,
    activity_features,
    top_category,
)
from recsys_assets.partitions import day_bounds, previous_day

__all__ = ["RECENT_CLICKS", "WINDOW_SECONDS", "FeatureError", "activity_features", "interaction_features",
           "item_popularity", "mask", "top_category"]

#: Share of training rows whose visitor is made unknown, and, independently, whose device is.
USER_MASK_RATE, DEVICE_MASK_RATE = 0.05, 0.05


class FeatureError(ValueError):
    """The inputs do not fit together; the message names column, count and an example."""


@dataclass(frozen=True)
class _Clicks:
    """All clicks, ordered by user, time and event id: whatever counts at a moment is one range of positions.

    C clicks. ``key`` = user code · span + seconds since ``origin`` ascends, so that two binary searches find the range.
    """

    users: pl.DataFrame  # {user_id, code: Int64}
    names: pl.Series  # categories, sorted
    name: np.ndarray  # int64 [C], row of names
    time: np.ndarray  # int64 [C], unix seconds
    code: np.ndarray  # int64 [C]
    key: np.ndarray  # int64 [C]
    origin: int
    span: int

    @classmethod
    def of(cls, clicks: pl.DataFrame, earliest: int, latest: int) -> _Clicks:
        """clicks: {event_id, user_id, timestamp, category_l1}; every moment asked for lies within [earliest, latest]."""
        clicks = clicks.sort(USER_ID, TIMESTAMP, EVENT_ID).with_columns(
            code=(pl.col(USER_ID) != pl.col(USER_ID).shift()).fill_null(False).cum_sum().cast(pl.Int64))
        names = clicks[CATEGORY_L1].unique().sort()
        name = clicks[CATEGORY_L1].replace_strict(names, pl.int_range(len(names), eager=True)).cast(pl.Int64)
        time, code = clicks[TIMESTAMP].to_numpy(), clicks["code"].to_numpy()
        first, last = clicks[TIMESTAMP].min(), clicks[TIMESTAMP].max()
        origin = min(earliest, earliest if first is None else first) - WINDOW_SECONDS
        span = max(latest, latest if last is None else last) - origin + 1
        return cls(clicks.select(USER_ID, "code").unique(maintain_order=True), names, name.to_numpy(), time, code,
                   code * span + time - origin, origin, span)

    def before(self, code: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Range [start, end) of positions of each user's clicks in [at − 24 h, at), the latest RECENT_CLICKS at most."""
        moment = code * self.span + at - self.origin
        end = np.searchsorted(self.key, moment, side="left")
        start = np.searchsorted(self.key, moment - WINDOW_SECONDS, side="left")
        return np.maximum(start, end - RECENT_CLICKS), end

    def top_categories(self, start: np.ndarray, end: np.ndarray) -> pl.Series:
        """``top_category`` of each range (none empty): it depends on nothing but the clicks in it."""
        ranges, back = np.unique(start * (len(self.time) + 1) + end, return_inverse=True)
        start, end = ranges // (len(self.time) + 1), ranges % (len(self.time) + 1)
        owner, position = _unroll(start, end)
        best = (pl.DataFrame({"owner": owner, "name": self.name[position], "at": self.time[position]})
                .group_by("owner", "name").agg(count=pl.len(), last=pl.col("at").max())
                .sort("owner", "count", "last", "name", descending=[False, True, True, False])
                .unique("owner", keep="first", maintain_order=True))
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
    """top_category, clicks_24h and hours_since_click of each query (user_id, timestamp), vectorised; Q rows."""
    asked = queries.select(USER_ID, TIMESTAMP).join(clicks.users, on=USER_ID, how="left", maintain_order="left")
    count, hours = np.zeros(asked.height, np.float32), np.full(asked.height, LOOK_BACK_HOURS, np.float32)
    known = np.flatnonzero(asked["code"].is_not_null().to_numpy())
    at = asked[TIMESTAMP].to_numpy()[known]
    start, end = clicks.before(asked["code"].drop_nulls().to_numpy(), at)
    counted = end > start
    rows, at, start, end = known[counted], at[counted], start[counted], end[counted]
    count[rows], hours[rows] = end - start, (at - clicks.time[end - 1]) / SECONDS_PER_HOUR
    names = clicks.top_categories(start, end)
    place = np.full(asked.height, len(names))
    place[rows] = np.arange(len(names))
    names = pl.concat([names, pl.Series([MISSING], dtype=pl.String)]).gather(place)
    return pl.DataFrame([names.alias(TOP_CATEGORY), pl.Series(CLICKS_24H, count), pl.Series(HOURS_SINCE_CLICK, hours)])


def _states(clicks: _Clicks, since: int) -> pl.DataFrame:
    """user_activity of ``interaction_features``: what is known of a visitor right after each click from ``since`` on."""
    last = np.r_[clicks.key[1:] != clicks.key[:-1], True][:len(clicks.key)]  # clicks of one second are one state
    position = np.flatnonzero(last & (clicks.time >= since))
    start, end = clicks.before(clicks.code[position], clicks.time[position] + 1)
    owner, inside = _unroll(start, end)
    lists = (pl.DataFrame({"owner": owner, RECENT_TIMESTAMPS: clicks.time[inside]})
             .with_columns(clicks.names.gather(clicks.name[inside]).alias(RECENT_CATEGORIES))
             .group_by("owner", maintain_order=True).agg(RECENT_CATEGORIES, RECENT_TIMESTAMPS))
    return lists.select(clicks.users[USER_ID].gather(clicks.code[position]), pl.Series(TIMESTAMP, clicks.time[position]),
                        RECENT_CATEGORIES, RECENT_TIMESTAMPS)


def item_popularity(interactions: pl.DataFrame, items: pl.DataFrame, day: str) -> pl.DataFrame:
    """Clicks of every item on a day, as the next day's events see them.

    Args:
        interactions: RAW_INTERACTIONS around the day. items: RAW_ITEMS. day: ISO, UTC.

    Returns:
        {item_id, item_clicks: Float32, timestamp: Int64, the end of the day}, one row an item of the catalogue (0.0
        where nobody clicked it, so that yesterday's count does not live on), ordered by item_id.
    """
    start, end = day_bounds(day)
    views = interactions.filter(pl.col(EVENT_TYPE) == VIEW, pl.col(TIMESTAMP).is_between(start, end, closed="left"))
    counts = views.group_by(ITEM_ID).agg(pl.len().cast(pl.Float32).alias(ITEM_CLICKS))
    return (items.select(ITEM_ID).join(counts, on=ITEM_ID, how="left").sort(ITEM_ID)
            .select(ITEM_ID, pl.col(ITEM_CLICKS).fill_null(0.0), pl.lit(end, pl.Int64).alias(TIMESTAMP)))


def interaction_features(today: pl.DataFrame, yesterday: pl.DataFrame | None, users: pl.DataFrame,
                         items: pl.DataFrame, day: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features of a day's exposures, and what each visitor's clicks of the day leave behind.

    Args:
        today, yesterday: RAW_INTERACTIONS of the day and of the one before (None: the first day of all).
        users: RAW_USERS. A visitor who is not in it has gender MISSING and a null age.
        items: RAW_ITEMS.
        day: ISO, UTC.

    Returns:
        features: INTERACTION_FEATURES, one row an exposure, ordered by (timestamp, event_id).
        user_activity: {user_id, timestamp: Int64, recent_categories: List(String), recent_timestamps: List(Int64)}, a
            row for each second in which a visitor clicked on the day: the clicks of the 24 hours up to and including
            it, oldest first, the latest RECENT_CLICKS at most. Ordered by (user_id, timestamp). A row at t uses the
            latest state strictly before t.

    Raises:
        FeatureError: an interaction names an item that the catalogue lacks.
    """
    needed = [EVENT_ID, USER_ID, ITEM_ID, TIMESTAMP, EVENT_TYPE]
    history = today.select(needed) if yesterday is None else pl.concat([yesterday.select(needed), today.select(needed)])
    unknown = history.join(items, on=ITEM_ID, how="anti")
    if unknown.height:
        raise FeatureError(f"item_id: {unknown.height} interactions around {day} name items that the catalogue lacks, "
                           f"for example {unknown[ITEM_ID][0]!r}: materialise raw/items again, or remove these rows")
    start, end = day_bounds(day)
    clicked = history.filter(pl.col(EVENT_TYPE) != IMPRESSION).join(items.select(ITEM_ID, CATEGORY_L1), on=ITEM_ID)
    exposures = today.filter(pl.col(EVENT_TYPE).is_in(EXPOSURE_EVENTS)).sort(TIMESTAMP, EVENT_ID)
    moments = exposures[TIMESTAMP]
    clicks = _Clicks.of(clicked, min(start, moments.min() or start), max(end, moments.max() or end))
    counts = item_popularity(history.clear() if yesterday is None else yesterday, items, previous_day(day))
    features = (
        exposures.with_columns(_activity(clicks, exposures))
        .join(users.select(USER_ID, AGE, GENDER), on=USER_ID, how="left", maintain_order="left")
        .join(items.select(ITEM_ID, CATEGORY_L1, CATEGORY_L2, ITEM_GENDER, PRICE)
              .join(counts.select(ITEM_ID, ITEM_CLICKS), on=ITEM_ID), on=ITEM_ID, how="left", maintain_order="left")
        .with_columns(pl.col(GENDER).fill_null(MISSING), pl.col(AGE).cast(pl.Float32))
        .select(*INTERACTION_FEATURES)
    )
    return features, _states(clicks, start)


def mask(features: pl.DataFrame, day: str, seed: int) -> pl.DataFrame:
    """Training rows (INTERACTION_FEATURES) as if some visitors, and some devices, were unknown.

    In USER_MASK_RATE of the rows the visitor becomes what a cold one is online: user_id, gender and top_category
    MISSING, age null, no click in the last LOOK_BACK_HOURS; in an independent DEVICE_MASK_RATE device_type becomes
    MISSING. The same for the same rows, day and seed.
    """
    rng = np.random.default_rng([seed, date.fromisoformat(day).toordinal(), 6])
    visitor = pl.lit(pl.Series(rng.random(features.height) < USER_MASK_RATE))
    device = pl.lit(pl.Series(rng.random(features.height) < DEVICE_MASK_RATE))
    cold = {USER_ID: MISSING, GENDER: MISSING, TOP_CATEGORY: MISSING, AGE: None, CLICKS_24H: 0.0,
            HOURS_SINCE_CLICK: float(LOOK_BACK_HOURS)}
    return features.with_columns(
        *(pl.when(visitor).then(pl.lit(value, features.schema[column])).otherwise(pl.col(column)).alias(column)
          for column, value in cold.items()),
        pl.when(device).then(pl.lit(MISSING)).otherwise(pl.col(DEVICE_TYPE)).alias(DEVICE_TYPE),
    )
