"""Point-in-time features of exposures, and the masking that teaches the models the unknown visitor.

``top_category`` of a user at time t is the most frequent category_l1 of what the user clicked in [t − 24 h, t);
equal counts go to the category clicked last, equal last clicks to the name that sorts first. Nothing at or after t
takes part: neither the row's own outcome nor another event of the same second.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from recsys_assets.columns import (
    AGE,
    CATEGORY_L1,
    CATEGORY_L2,
    DEVICE_TYPE,
    EVENT_ID,
    EVENT_TYPE,
    EXPOSURE_EVENTS,
    GENDER,
    IMPRESSION,
    INTERACTION_FEATURES,
    ITEM_GENDER,
    ITEM_ID,
    MISSING,
    PRICE,
    TIMESTAMP,
    TOP_CATEGORY,
    USER_ID,
)
from recsys_assets.partitions import day_bounds

WINDOW_SECONDS = 86_400
#: Share of training rows whose visitor is made unknown, and, independently, whose device is.
USER_MASK_RATE, DEVICE_MASK_RATE = 0.05, 0.05


class FeatureError(ValueError):
    """The inputs do not fit together; the message names column, count and an example."""


def top_category(categories: Sequence[str], timestamps: Sequence[int], now: int) -> str:
    """The top category of one user's clicks at ``now`` (unix seconds), MISSING where none lies in the window.

    The live path and the batch path share this definition.

    >>> top_category(["tools", "books", "tools"], [100, 200, 150], now=300)
    'tools'
    >>> top_category(["tools", "books"], [100, 200], now=300)  # a tie: the most recent
    'books'
    >>> top_category(["tools"], [300], now=300)  # not strictly before now
    '-1'
    """
    seen: dict[str, tuple[int, int]] = {}
    for category, timestamp in zip(categories, timestamps, strict=True):
        if now - WINDOW_SECONDS <= timestamp < now:
            count, last = seen.get(category, (0, timestamp))
            seen[category] = (count + 1, max(last, timestamp))
    return min(seen, key=lambda c: (-seen[c][0], -seen[c][1], c), default=MISSING)


def _top_categories(clicks: pl.DataFrame, queries: pl.DataFrame) -> pl.Series:
    """``top_category`` of each query (user_id, timestamp), vectorised: String [Q].

    Each query is paired with every category that its user ever clicked; two binary searches in the sorted
    (user, category, time) keys give the pair's count and last click in the window; the best pair wins.
    O((Q·c + E) log E) for E clicks and c categories a user.
    """
    if clicks.is_empty() or queries.is_empty():
        return pl.Series(TOP_CATEGORY, [MISSING] * queries.height, dtype=pl.String)
    names = clicks[CATEGORY_L1].unique().sort()
    clicks = clicks.select(USER_ID, TIMESTAMP, name=pl.col(CATEGORY_L1).replace_strict(
        names, pl.int_range(len(names), eager=True), return_dtype=pl.Int64)).sort(USER_ID, "name", TIMESTAMP)
    pairs = clicks.select(USER_ID, "name").unique(maintain_order=True).with_row_index("pair").with_columns(
        pl.col("pair").cast(pl.Int64))
    origin = min(clicks[TIMESTAMP].min(), queries[TIMESTAMP].min()) - WINDOW_SECONDS
    span = max(clicks[TIMESTAMP].max(), queries[TIMESTAMP].max()) - origin + 1
    times = clicks[TIMESTAMP].to_numpy() - origin
    keys = clicks.join(pairs, on=[USER_ID, "name"], how="left", maintain_order="left")["pair"].to_numpy() * span + times

    asked = queries.select(USER_ID, at=pl.col(TIMESTAMP) - origin).with_row_index("query")
    asked = asked.join(pairs, on=USER_ID, how="inner").sort("query")
    query, name = asked["query"].to_numpy(), asked["name"].to_numpy()
    base, at = asked["pair"].to_numpy() * span, asked["at"].to_numpy()
    end = np.searchsorted(keys, base + at, side="left")
    count = end - np.searchsorted(keys, base + at - WINDOW_SECONDS, side="left")
    inside = count > 0
    query, name, count, end, at = query[inside], name[inside], count[inside], end[inside], at[inside]
    recency = times[end - 1] - at + WINDOW_SECONDS  # 0 … WINDOW_SECONDS - 1
    score = (count * WINDOW_SECONDS + recency) * len(names) + (len(names) - 1 - name)
    best = np.full(queries.height, -1, np.int64)
    if len(query):
        first = np.flatnonzero(np.r_[True, query[1:] != query[:-1]])
        best[query[first]] = np.maximum.reduceat(score, first)
    index = np.where(best < 0, len(names), len(names) - 1 - best % len(names))
    return pl.concat([names, pl.Series([MISSING])]).gather(index).alias(TOP_CATEGORY)


def interaction_features(today: pl.DataFrame, yesterday: pl.DataFrame | None, users: pl.DataFrame,
                         items: pl.DataFrame, day: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features of a day's exposures, and what each active user's top category is when the day ends.

    Args:
        today, yesterday: RAW_INTERACTIONS of the day and of the one before (None: the first day of all).
        users: RAW_USERS. A visitor who is not in it has gender MISSING and a null age.
        items: RAW_ITEMS.
        day: ISO, UTC.

    Returns:
        features: INTERACTION_FEATURES, one row an exposure, ordered by (timestamp, event_id).
        user_activity: {user_id, top_category, timestamp: last click}, a row for each user who clicked on the day,
            ordered by user_id.

    Raises:
        FeatureError: an interaction names an item that the catalogue lacks.
    """
    needed = [EVENT_ID, USER_ID, ITEM_ID, TIMESTAMP, EVENT_TYPE]
    history = today.select(needed) if yesterday is None else pl.concat([yesterday.select(needed), today.select(needed)])
    unknown = history.join(items, on=ITEM_ID, how="anti")
    if unknown.height:
        raise FeatureError(f"item_id: {unknown.height} interactions around {day} name items that the catalogue lacks, "
                           f"for example {unknown[ITEM_ID][0]!r}: materialise raw/items again, or remove these rows")
    clicks = history.filter(pl.col(EVENT_TYPE) != IMPRESSION).join(items.select(ITEM_ID, CATEGORY_L1), on=ITEM_ID)
    exposures = today.filter(pl.col(EVENT_TYPE).is_in(EXPOSURE_EVENTS)).sort(TIMESTAMP, EVENT_ID)
    features = (
        exposures.with_columns(_top_categories(clicks, exposures.select(USER_ID, TIMESTAMP)))
        .join(users.select(USER_ID, AGE, GENDER), on=USER_ID, how="left", maintain_order="left")
        .join(items.select(ITEM_ID, CATEGORY_L1, CATEGORY_L2, ITEM_GENDER, PRICE), on=ITEM_ID, how="left",
              maintain_order="left")
        .with_columns(pl.col(GENDER).fill_null(MISSING), pl.col(AGE).cast(pl.Float32))
        .select(*INTERACTION_FEATURES)
    )
    start, end = day_bounds(day)
    active = (clicks.filter(pl.col(TIMESTAMP).is_between(start, end, closed="left"))
              .group_by(USER_ID).agg(pl.col(TIMESTAMP).max()).sort(USER_ID))
    top = _top_categories(clicks, active.select(USER_ID, pl.lit(end).cast(pl.Int64).alias(TIMESTAMP)))
    return features, active.with_columns(top).select(USER_ID, TOP_CATEGORY, TIMESTAMP)


def mask(features: pl.DataFrame, day: str, seed: int) -> pl.DataFrame:
    """Training rows (INTERACTION_FEATURES) as if some visitors, and some devices, were unknown.

    In USER_MASK_RATE of the rows user_id, gender and top_category become MISSING and age null; in an independent
    DEVICE_MASK_RATE device_type becomes MISSING. The same for the same rows, day and seed.
    """
    rng = np.random.default_rng([seed, date.fromisoformat(day).toordinal(), 6])
    visitor = pl.lit(pl.Series(rng.random(features.height) < USER_MASK_RATE))
    device = pl.lit(pl.Series(rng.random(features.height) < DEVICE_MASK_RATE))
    return features.with_columns(
        *(pl.when(visitor).then(pl.lit(MISSING)).otherwise(pl.col(column)).alias(column)
          for column in (USER_ID, GENDER, TOP_CATEGORY)),
        pl.when(visitor).then(None).otherwise(pl.col(AGE)).alias(AGE),
        pl.when(device).then(pl.lit(MISSING)).otherwise(pl.col(DEVICE_TYPE)).alias(DEVICE_TYPE),
    )
