"""Define names and schemas of the feature views, and the paths of offline tables."""

from __future__ import annotations

from recsys_assets.columns import (
    AGE,
    CATEGORY_L1,
    CATEGORY_L2,
    GENDER,
    ITEM_CLICKS,
    ITEM_GENDER,
    ITEM_ID,
    PRICE,
    RECENT_CATEGORIES,
    RECENT_ITEMS,
    RECENT_TIMESTAMPS,
    USER_ID,
)
from recsys_assets.settings import Settings

USER_FEATURES, USER_ACTIVITY = "user_features", "user_activity"
ITEM_FEATURES, ITEM_POPULARITY = "item_features", "item_popularity"
USER_ACTIVITY_PUSH = "user_activity_push"
HOME_PAGE_V1, HOME_PAGE_V2 = "home_page_v1", "home_page_v2"
EVENT_TIMESTAMP = "event_timestamp"
#: Name of the partition folders of offline tables, and of the Glue tables' partition column.
DAY = "day"
#: Offline table → its columns and Polars types, the key first.
OFFLINE_SCHEMAS: dict[str, dict[str, str]] = {
    USER_FEATURES: {USER_ID: "String", AGE: "Float32", GENDER: "String"},
    USER_ACTIVITY: {
        USER_ID: "String",
        RECENT_CATEGORIES: "List(String)",
        RECENT_ITEMS: "List(String)",
        RECENT_TIMESTAMPS: "List(Int64)",
    },
    ITEM_FEATURES: {
        ITEM_ID: "String",
        PRICE: "Float64",
        CATEGORY_L1: "String",
        CATEGORY_L2: "String",
        ITEM_GENDER: "String",
    },
    ITEM_POPULARITY: {ITEM_ID: "String", ITEM_CLICKS: "Float32"},
}


class FeatureStoreError(RuntimeError):
    """Raised if the feature store or its tables cannot be used; names the remedy."""


def offline_path(settings: Settings, view: str, day: str = "*") -> str:
    """Return the path of a view's Parquet file of a day.

    By default, returns the pattern of all days, ``…/<view>/day=*/part.parquet``.
    """
    base = settings.feast_offline_uri or str(settings.home / "feast" / "offline")
    return f"{base.rstrip('/')}/{view}/{DAY}={day}/part.parquet"
