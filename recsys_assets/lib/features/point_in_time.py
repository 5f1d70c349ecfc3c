"""Compute point-in-time features of exposures, and mask visitors for training.

``activity.activity_features`` and ``activity.history`` define a visitor's features at time t. This
module computes the same for a whole day at once. An item's popularity is its clicks on the day
before. Nothing at or after t is used: neither the row's own outcome nor another event of its
second. An event that arrived late is used from its arrival on (``landing.arrivals``), because
serving did not have it earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from recsys_assets.columns import (
    AGE,
    ARRIVED,
    CATEGORY_CLICKS_24H,
    CATEGORY_CLICKS_LOOK_BACK,
    CATEGORY_L1,
    CATEGORY_L2,
    CLICK,
    CLICKS_24H,
    CLICKS_LOOK_BACK,
    DEVICE_TYPE,
    EVENT_ID,
    EVENT_TYPE,
    EXPOSURE_EVENTS,
    GENDER,
    HISTORY_AGES,
    HISTORY_CATEGORIES,
    HISTORY_ITEMS,
    HOURS_SINCE_CLICK,
    INTERACTION_FEATURES,
    INTEREST_EVENTS,
    ITEM_CLICKS,
    ITEM_GENDER,
    ITEM_HISTORY,
    ITEM_ID,
    MISSING,
    PRICE,
    RECENT_HOURS,
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    TIMESTAMP,
    TOP_CATEGORY,
    USER_ID,
    VIEW,
    EventType,
)
from recsys_assets.lib.features.activity import WINDOW_SECONDS
from recsys_assets.lib.features.as_arrived import as_arrived
from recsys_assets.lib.features.click_ranges import ClickRanges
from recsys_assets.lib.landing.arrivals import SINCE, since
from recsys_assets.local_time import UTC
from recsys_assets.partitions import day_bounds, previous_day

NEEDED = (EVENT_ID, USER_ID, ITEM_ID, TIMESTAMP, EVENT_TYPE)  # columns of the days before
#: Shares of training rows whose visitor, and independently whose device, becomes unknown.
USER_MASK_RATE, DEVICE_MASK_RATE = 0.05, 0.05
#: Features of an unknown visitor, the same as in serving.
UNKNOWN_VISITOR = {
    USER_ID: MISSING,
    GENDER: MISSING,
    TOP_CATEGORY: MISSING,
    AGE: None,
    CLICKS_24H: 0.0,
    HOURS_SINCE_CLICK: float(RECENT_HOURS),
    CLICKS_LOOK_BACK: 0.0,
    CATEGORY_CLICKS_LOOK_BACK: 0.0,
    CATEGORY_CLICKS_24H: 0.0,
}


class FeatureError(ValueError):
    """Raised if inputs do not fit together; names column, count and an example."""


def _activity(clicks: ClickRanges, queries: pl.DataFrame, seconds: int) -> pl.DataFrame:
    """Return the click features of Q queries, one row per query.

    Args:
        clicks: all clicks.
        queries: {user_id, timestamp, category_l1 of the item}.
        seconds: length of the look-back.
    """
    asked = queries.select(USER_ID, TIMESTAMP, CATEGORY_L1).join(
        clicks.users, on=USER_ID, how="left", maintain_order="left"
    )
    rows_asked = asked.height
    hours = np.full(rows_asked, RECENT_HOURS, np.float32)
    counts = {
        name: np.zeros(rows_asked, np.float32)
        for name in (CLICKS_24H, CLICKS_LOOK_BACK, CATEGORY_CLICKS_LOOK_BACK, CATEGORY_CLICKS_24H)
    }
    # In the order of the clicks, consecutive binary searches hit the processor's cache.
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
    remembered, end = clicks.before(code, at, seconds)
    start, _ = clicks.before(code, at, WINDOW_SECONDS)
    counts[CLICKS_LOOK_BACK][known] = end - remembered
    counts[CATEGORY_CLICKS_LOOK_BACK][known] = clicks.of_category(code, shelf, remembered, end)
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


def _click_history(clicks: ClickRanges, rows: pl.DataFrame, seconds: int) -> pl.DataFrame:
    """Return click_history of ``interaction_features``."""
    asked = rows.select(EVENT_ID, USER_ID, TIMESTAMP).join(
        clicks.users, on=USER_ID, how="left", maintain_order="left"
    )
    # A visitor without clicks has the empty range [0, 0).
    code, known = asked["code"].fill_null(0).to_numpy(), asked["code"].is_not_null().to_numpy()
    at = asked[TIMESTAMP].to_numpy()
    start, end = clicks.before(code, at, seconds)
    start, end = np.where(known, start, 0), np.where(known, end, 0)
    categories, _, _ = clicks.lists(start, end)
    items, ages = clicks.items_and_ages(np.maximum(start, end - ITEM_HISTORY), end, at)
    return asked.select(
        EVENT_ID,
        categories.alias(HISTORY_CATEGORIES),
        items.alias(HISTORY_ITEMS),
        ages.alias(HISTORY_AGES),
    )


def _states(clicks: ClickRanges, since: int, seconds: int) -> pl.DataFrame:
    """Return user_activity of ``interaction_features``, for clicks from ``since`` on."""
    # Clicks of one second give one state.
    last = np.r_[clicks.key[1:] != clicks.key[:-1], True][: len(clicks.key)]
    position = np.flatnonzero(last & (clicks.time >= since))
    lists = clicks.lists(*clicks.before(clicks.code[position], clicks.time[position] + 1, seconds))
    return pl.DataFrame(
        [
            clicks.users[USER_ID].gather(clicks.code[position]),
            pl.Series(TIMESTAMP, clicks.time[position]),
            *lists,
        ]
    )


def _late_states(
    clicks: ClickRanges, moments: pl.DataFrame, asked: pl.Series, seconds: int
) -> pl.DataFrame:
    """Return user_activity of ``interaction_features`` where clicks arrived late.

    Args:
        clicks: all clicks, per state of ``as_arrived``.
        moments: {user_id, timestamp}, one row per moment at which a visitor's clicks changed.
        asked: the visitor's state just after each moment.
        seconds: length of the look-back.
    """
    code = asked.to_frame(USER_ID).join(
        clicks.users, on=USER_ID, how="left", maintain_order="left"
    )["code"]
    start, end = clicks.before(
        code.fill_null(0).to_numpy(), moments[TIMESTAMP].to_numpy() + 1, seconds
    )
    # a click that arrives after the look-back changes nothing
    kept = (end > start) & code.is_not_null().to_numpy()
    lists = clicks.lists(start[kept], end[kept])
    return moments.filter(pl.Series(kept)).hstack([*lists])


def _needed(rows: pl.DataFrame, late: bool) -> pl.DataFrame:
    """Return the columns that features read, and SINCE where some rows are late."""
    if not late:
        return rows.select(NEEDED)
    moment = since() if ARRIVED in rows.columns else pl.col(TIMESTAMP).alias(SINCE)
    return rows.select(*NEEDED, moment)


def item_popularity(
    interactions: pl.DataFrame, items: pl.DataFrame, day: str, zone: str = UTC
) -> pl.DataFrame:
    """Return the clicks of every item on a day, which are a feature of the next day.

    Args:
        interactions: RAW_INTERACTIONS around the day, with ARRIVED where some rows are late; what
            arrived after the day is not counted.
        items: RAW_ITEMS.
        day: ISO, local.
        zone: the shop's time zone.

    Returns:
        {item_id, item_clicks: Float32, timestamp: Int64, the end of the day}, one row per item of
        the catalogue, ordered by item_id. Items without a click have 0.0, so that no older count
        stays online.
    """
    start, end = day_bounds(day, zone)
    views = interactions.filter(
        pl.col(EVENT_TYPE) == VIEW, pl.col(TIMESTAMP).is_between(start, end, closed="left")
    )
    if ARRIVED in views.columns:
        views = views.filter(since() < end)
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
    zone: str = UTC,
    popularity: pl.DataFrame | None = None,
    *,
    look_back_days: int,
    shown_by: Sequence[EventType] = EXPOSURE_EVENTS,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the features of a day's exposures, and each visitor's clicks for later.

    Args:
        today: RAW_INTERACTIONS of the day, with ARRIVED where some rows are late.
        earlier: the same of the look_back_days before it, or only their clicks; None for the
            calendar's first day.
        users: RAW_USERS. An unknown visitor has gender MISSING and a null age.
        items: RAW_ITEMS.
        day: ISO, local.
        zone: the shop's time zone.
        popularity: item_popularity of the day before; None: it is counted in ``earlier``.
        look_back_days: days of 24 hours whose clicks the features cover.
        shown_by: events that count as an exposure.

    Returns:
        features: INTERACTION_FEATURES, one row per exposure, ordered by (timestamp, event_id).
        click_history: {event_id, categories: List(String), items: List(String), ages:
            List(Float32)}, one row per clicked exposure in the same order: ``activity.history`` of
            its visitor just before it, oldest first. Items and ages (hours until the exposure) are
            those of its latest ITEM_HISTORY clicks.
        user_activity: {user_id, timestamp: Int64, recent_categories: List(String),
            recent_items: List(String), recent_timestamps: List(Int64)}, one row per visitor and
            second with a click on the day, ordered by (user_id, timestamp). The lists hold the
            clicks of the look_back_days up to and including it, oldest first, the latest
            RECENT_CLICKS at most. A row at t uses the latest state strictly before t. A late click
            makes a state one second before its arrival.

    Raises:
        FeatureError: an interaction names an item that the catalogue lacks.
    """
    both = [today] if earlier is None else [earlier, today]
    late = any(ARRIVED in rows.columns for rows in both)
    history = pl.concat([_needed(rows, late) for rows in both])
    _require_items(history, items, day)
    start, end = day_bounds(day, zone)
    # Only clicks of visitors of this day are needed.
    here = today.select(USER_ID).unique()
    if late:  # and of those whose clicks arrive on this day
        coming = history.filter(
            pl.col(SINCE) > pl.col(TIMESTAMP), pl.col(SINCE).is_between(start, end, closed="left")
        )
        here = pl.concat([here, coming.select(USER_ID)]).unique()
    clicked = (
        history.filter(pl.col(EVENT_TYPE).is_in(INTEREST_EVENTS))
        .join(here, on=USER_ID, how="semi")
        .join(items.select(ITEM_ID, CATEGORY_L1), on=ITEM_ID)
    )
    exposures = today.filter(pl.col(EVENT_TYPE).is_in(shown_by)).sort(TIMESTAMP, EVENT_ID)
    moments = exposures[TIMESTAMP].to_numpy()
    seconds = look_back_days * SECONDS_PER_DAY
    visitors, changes = exposures[USER_ID], None
    if late:
        changes = (
            clicked.filter(pl.col(SINCE).is_between(start, end, closed="left"))
            .select(USER_ID, pl.col(SINCE).alias(TIMESTAMP))
            .unique()
            .sort(USER_ID, TIMESTAMP)
        )
        just_after = changes.with_columns(pl.col(TIMESTAMP) + 1)
        clicked, visitors = as_arrived(
            clicked, pl.concat([exposures.select(USER_ID, TIMESTAMP), just_after])
        )
    clicks = ClickRanges.of(
        clicked, int(moments.min(initial=start)), int(moments.max(initial=end)), seconds
    )
    if popularity is None:
        popularity = item_popularity(
            history.clear() if earlier is None else earlier, items, previous_day(day), zone
        )
    shown = exposures.join(
        items.select(ITEM_ID, CATEGORY_L1, CATEGORY_L2, ITEM_GENDER, PRICE).join(
            popularity.select(ITEM_ID, ITEM_CLICKS), on=ITEM_ID
        ),
        on=ITEM_ID,
        how="left",
        maintain_order="left",
    )
    asked = shown.with_columns(visitors.head(shown.height))
    features = (
        shown.with_columns(_activity(clicks, asked, seconds))
        .join(users.select(USER_ID, AGE, GENDER), on=USER_ID, how="left", maintain_order="left")
        .with_columns(pl.col(GENDER).fill_null(MISSING), pl.col(AGE).cast(pl.Float32))
        .select(*INTERACTION_FEATURES)
    )
    return (
        features,
        _click_history(clicks, asked.filter(pl.col(CLICK) == 1), seconds),
        _states(clicks, start, seconds)
        if changes is None
        else _late_states(clicks, changes, visitors.tail(changes.height), seconds),
    )


def _require_items(history: pl.DataFrame, items: pl.DataFrame, day: str) -> None:
    """Refuse interactions with items that the catalogue lacks.

    Raises:
        FeatureError: there are such interactions.
    """
    unknown = history.join(items, on=ITEM_ID, how="anti")
    if unknown.height:
        raise FeatureError(
            f"item_id: {unknown.height} interactions around {day} name items that the catalogue "
            f"lacks, for example {unknown[ITEM_ID][0]!r}: materialise raw/items again, or remove "
            "these rows"
        )


def mask(features: pl.DataFrame, day: str, seed: int) -> pl.DataFrame:
    """Make some visitors and some devices of training rows unknown.

    In USER_MASK_RATE of the rows, the visitor gets the features of UNKNOWN_VISITOR, as a cold user
    has online. In an independent DEVICE_MASK_RATE, device_type becomes MISSING. The result depends
    only on rows, day and seed.

    Args:
        features: INTERACTION_FEATURES.
        day: ISO, local.
        seed: random seed.
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
