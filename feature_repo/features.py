"""Define Feast's entities, views, push source and feature services.

``define`` builds them for the target of some settings. The names of this module are the objects of
the configured target, so that ``feast apply`` and ``feast ui`` find them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_source import DataSource
from feast.types import Array, Float32, Float64, Int64, String

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
from recsys_assets.lib.feature_store.views import (
    DAY,
    EVENT_TIMESTAMP,
    HOME_PAGE_V1,
    HOME_PAGE_V2,
    ITEM_FEATURES,
    ITEM_POPULARITY,
    USER_ACTIVITY,
    USER_ACTIVITY_PUSH,
    USER_FEATURES,
    offline_path,
)
from recsys_assets.settings import Settings, get_settings

TTL = timedelta(days=365)


class Definitions(NamedTuple):
    """Holds all definitions of one target."""

    user: Entity
    item: Entity
    user_features: FeatureView
    user_activity: FeatureView
    item_features: FeatureView
    item_popularity: FeatureView
    user_activity_push: PushSource
    home_page_v1: FeatureService
    home_page_v2: FeatureService


def _source(settings: Settings, view: str) -> DataSource:
    if settings.target == "aws":
        from feast.infra.offline_stores.contrib.athena_offline_store.athena_source import (
            AthenaSource,
        )

        return AthenaSource(
            name=f"{view}_source",
            table=view,
            database=settings.athena_database,
            data_source=settings.athena_data_source,
            timestamp_field=EVENT_TIMESTAMP,
            date_partition_column=DAY,
        )
    return FileSource(
        name=f"{view}_source", path=offline_path(settings, view), timestamp_field=EVENT_TIMESTAMP
    )


def _user_views(
    settings: Settings, user: Entity, push: PushSource
) -> tuple[FeatureView, FeatureView]:
    # schemas name the key: otherwise apply reads the table, which may not be written yet
    features = FeatureView(
        name=USER_FEATURES,
        entities=[user],
        ttl=TTL,
        source=_source(settings, USER_FEATURES),
        schema=[
            Field(name=USER_ID, dtype=String),
            Field(name=AGE, dtype=Float32),
            Field(name=GENDER, dtype=String),
        ],
        description="Age and gender of a registered visitor.",
    )
    activity = FeatureView(
        name=USER_ACTIVITY,
        entities=[user],
        ttl=TTL,
        source=push,
        schema=[
            Field(name=USER_ID, dtype=String),
            Field(name=RECENT_CATEGORIES, dtype=Array(String)),
            Field(name=RECENT_ITEMS, dtype=Array(String)),
            Field(name=RECENT_TIMESTAMPS, dtype=Array(Int64)),
        ],
        description="The visitor's clicks in the look-back days up to the newest click, oldest "
        "first: categories, items and unix seconds. Readers must drop clicks that are older than "
        "the look-back.",
    )
    return features, activity


def _item_views(settings: Settings, item: Entity) -> tuple[FeatureView, FeatureView]:
    features = FeatureView(
        name=ITEM_FEATURES,
        entities=[item],
        ttl=TTL,
        source=_source(settings, ITEM_FEATURES),
        schema=[
            Field(name=ITEM_ID, dtype=String),
            Field(name=PRICE, dtype=Float64),
            Field(name=CATEGORY_L1, dtype=String),
            Field(name=CATEGORY_L2, dtype=String),
            Field(name=ITEM_GENDER, dtype=String),
        ],
        description="Price, categories and gender of a product, which the ranker reads.",
    )
    popularity = FeatureView(
        name=ITEM_POPULARITY,
        entities=[item],
        ttl=TTL,
        source=_source(settings, ITEM_POPULARITY),
        schema=[Field(name=ITEM_ID, dtype=String), Field(name=ITEM_CLICKS, dtype=Float32)],
        description="Clicks of a product on one day; the timestamp is the end of the day.",
    )
    return features, popularity


def define(settings: Settings) -> Definitions:
    """Return all definitions for the target of these settings."""
    user = Entity(
        name="user", join_keys=[USER_ID], value_type=ValueType.STRING, description="A visitor."
    )
    item = Entity(
        name="item", join_keys=[ITEM_ID], value_type=ValueType.STRING, description="A product."
    )
    push = PushSource(name=USER_ACTIVITY_PUSH, batch_source=_source(settings, USER_ACTIVITY))
    user_features, user_activity = _user_views(settings, user, push)
    item_features, item_popularity = _item_views(settings, item)
    # a release keeps the service that it was trained with; new features are a new version
    v1 = FeatureService(
        name=HOME_PAGE_V1,
        features=[user_features, user_activity, item_features],
        description="The reference's features: visitor, recent categories, product.",
    )
    v2 = FeatureService(
        name=HOME_PAGE_V2,
        features=[user_features, user_activity, item_features, item_popularity],
        description="All features of a home page request: v1 and the popularity of the day before.",
    )
    return Definitions(
        user, item, user_features, user_activity, item_features, item_popularity, push, v1, v2
    )


(
    user,
    item,
    user_features,
    user_activity,
    item_features,
    item_popularity,
    user_activity_push,
    home_page_v1,
    home_page_v2,
) = define(get_settings())
