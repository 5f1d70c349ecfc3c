"""Read training features by Feast's point-in-time retrieval.

The values equal those of ``point_in_time.interaction_features``, which training uses because it is
faster for whole days. This module is for notebooks, audits and other models, which need the
features of any moment. A test compares both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import polars as pl

from recsys_assets.columns import (
    AGE,
    CATEGORY_CLICKS_24H,
    CATEGORY_CLICKS_LOOK_BACK,
    CATEGORY_L1,
    CATEGORY_L2,
    CLICKS_24H,
    CLICKS_LOOK_BACK,
    GENDER,
    HOURS_SINCE_CLICK,
    INTERACTION_FEATURES,
    ITEM_CLICKS,
    ITEM_GENDER,
    ITEM_ID,
    MISSING,
    PRICE,
    RECENT_CATEGORIES,
    RECENT_TIMESTAMPS,
    TIMESTAMP,
    TOP_CATEGORY,
    USER_ID,
)
from recsys_assets.lib.feature_store.views import (
    EVENT_TIMESTAMP,
    ITEM_FEATURES,
    ITEM_POPULARITY,
    USER_ACTIVITY,
    USER_FEATURES,
    FeatureStoreError,
)
from recsys_assets.lib.features.activity import activity_features, history

if TYPE_CHECKING:
    from feast import FeatureStore

#: Values of the start of a day count from that moment on.
_DAILY = (
    f"{USER_FEATURES}:{AGE}",
    f"{USER_FEATURES}:{GENDER}",
    *(f"{ITEM_FEATURES}:{name}" for name in (CATEGORY_L1, CATEGORY_L2, ITEM_GENDER, PRICE)),
    f"{ITEM_POPULARITY}:{ITEM_CLICKS}",
)
#: A click counts only for later seconds, not for another event of the same second.
_ACTIVITY = (f"{USER_ACTIVITY}:{RECENT_CATEGORIES}", f"{USER_ACTIVITY}:{RECENT_TIMESTAMPS}")
#: Less than one second, because event times are whole seconds. Athena keeps milliseconds.
_JUST_BEFORE = pl.duration(milliseconds=1)
_ROW = "entity_row"
_COMPUTED = {
    TOP_CATEGORY: pl.String,
    CLICKS_24H: pl.Float32,
    HOURS_SINCE_CLICK: pl.Float32,
    CLICKS_LOOK_BACK: pl.Float32,
    CATEGORY_CLICKS_LOOK_BACK: pl.Float32,
    CATEGORY_CLICKS_24H: pl.Float32,
}


def historical_features(
    store: FeatureStore, entity_rows: pl.DataFrame, look_back_days: int
) -> pl.DataFrame:
    """Return the features of N (user, item, moment) rows, as known before each moment.

    Args:
        store: opened with its offline store; ``write_offline`` has written the days around the
            moments.
        entity_rows: {user_id, item_id, timestamp: unix seconds}; other columns are ignored.
        look_back_days: days of 24 hours whose clicks count, at most those that the days were
            written with.

    Returns:
        N rows in the given order: the three columns, then the columns of INTERACTION_FEATURES that
        Feast has. An unknown visitor has gender MISSING and a null age. An unknown item has null
        columns. Without popularity of the day before (the calendar's first day), item_clicks is 0.

    Raises:
        FeatureStoreError: a column is missing, or the offline store lost or repeated rows.
    """
    entity = (USER_ID, ITEM_ID, TIMESTAMP)
    absent = [name for name in entity if name not in entity_rows.columns]
    if absent:
        raise FeatureStoreError(
            f"entity_rows: column {', '.join(absent)} is missing; got {entity_rows.columns}"
        )
    moment = pl.from_epoch(TIMESTAMP, time_unit="s").cast(pl.Datetime("us", "UTC"))
    asked = entity_rows.select(*entity, moment.alias(EVENT_TIMESTAMP)).with_row_index(_ROW)
    known = _retrieve(store, asked.select(USER_ID, ITEM_ID, EVENT_TIMESTAMP, _ROW), _DAILY)
    clicks = _retrieve(
        store, asked.select(USER_ID, pl.col(EVENT_TIMESTAMP) - _JUST_BEFORE, _ROW), _ACTIVITY
    )
    computed = [
        _of_clicks(categories or [], timestamps or [], now, category, look_back_days)
        for categories, timestamps, now, category in zip(
            clicks[RECENT_CATEGORIES].to_list(),
            clicks[RECENT_TIMESTAMPS].to_list(),
            asked[TIMESTAMP],
            known[CATEGORY_L1],
            strict=True,
        )
    ]
    found = pl.concat(
        [
            asked.select(entity),
            known.drop(USER_ID, ITEM_ID, EVENT_TIMESTAMP, _ROW),
            pl.DataFrame(computed, schema=_COMPUTED, orient="row"),
        ],
        how="horizontal",
    )
    found = found.with_columns(
        pl.col(GENDER).fill_null(MISSING), pl.col(ITEM_CLICKS).fill_null(0.0)
    )
    return found.select(
        *entity,
        *(
            pl.col(name).cast(getattr(pl, dtype))
            for name, dtype in INTERACTION_FEATURES.items()
            if name in found.columns and name not in entity
        ),
    )


def _of_clicks(
    categories: Sequence[str],
    timestamps: Sequence[int],
    now: int,
    category: str | None,
    look_back_days: int,
) -> tuple[str | float, ...]:
    """Return the values of _COMPUTED for a visitor and an item's category at a moment."""
    remembered, recent = history(categories, timestamps, now, look_back_days)
    latest = remembered[len(remembered) - recent :]
    return (
        *activity_features(categories, timestamps, now),
        float(len(remembered)),
        float(remembered.count(category)),
        float(latest.count(category)),
    )


def _retrieve(store: FeatureStore, asked: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
    """Return Feast's point-in-time join of the rows, in the given order.

    Raises:
        FeatureStoreError: the offline store lost or repeated rows.
    """
    table = store.get_historical_features(asked.to_pandas(), list(features)).to_arrow()
    # from_arrow returns a DataFrame for a table; DuckDB returns rows in any order
    found = cast("pl.DataFrame", pl.from_arrow(table)).sort(_ROW)
    if not found[_ROW].cast(pl.Int64).equals(asked[_ROW].cast(pl.Int64)):
        raise FeatureStoreError(
            f"the offline store gave {found.height} rows for {asked.height}: look for keys that "
            f"repeat at one {EVENT_TIMESTAMP} in the tables of {', '.join(features)}, and write "
            "these days again"
        )
    return found
