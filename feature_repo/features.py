"""Feast's definitions: two entities, four views, the live push source and the home page's feature
services.

``define`` builds them for one target; the module's own names are the same objects for the
configured target, so that ``feast apply`` and ``feast ui`` find them.
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


def define(settings: Settings) -> Definitions:
    user = Entity(
        name="user", join_keys=[USER_ID], value_type=ValueType.STRING, description="A visitor."
    )
    item = Entity(
        name="item", join_keys=[ITEM_ID], value_type=ValueType.STRING, description="A product."
    )
    # each schema names its key too: else apply would read the table, which may not be written yet
    user_features = FeatureView(
        name=USER_FEATURES,
        entities=[user],
        ttl=TTL,
        source=_source(settings, USER_FEATURES),
        schema=[
            Field(name=USER_ID, dtype=String),
            Field(name=AGE, dtype=Float32),
            Field(name=GENDER, dtype=String),
        ],
        description="What the shop knows about a registered visitor.",
    )
    push = PushSource(name=USER_ACTIVITY_PUSH, batch_source=_source(settings, USER_ACTIVITY))
    user_activity = FeatureView(
        name=USER_ACTIVITY,
        entities=[user],
        ttl=TTL,
        source=push,
        schema=[
            Field(name=USER_ID, dtype=String),
            Field(name=RECENT_CATEGORIES, dtype=Array(String)),
            Field(name=RECENT_TIMESTAMPS, dtype=Array(Int64)),
        ],
        description="The visitor's clicks of the seven days up to its newest one, oldest first: "
        "categories and unix "
        "seconds. Whoever reads them drops what is older than seven days by then.",
    )
    item_features = FeatureView(
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
        description="What the ranker reads of a product beside its embeddings.",
    )
    item_popularity = FeatureView(
        name=ITEM_POPULARITY,
        entities=[item],
        ttl=TTL,
        source=_source(settings, ITEM_POPULARITY),
        schema=[Field(name=ITEM_ID, dtype=String), Field(name=ITEM_CLICKS, dtype=Float32)],
        description="Views of a product on one day; its timestamp is the day's end.",
    )
    # a release keeps the service that it was trained with: a new set of features is a new version
    # beside it
    v1 = FeatureService(
        name=HOME_PAGE_V1,
        features=[user_features, user_activity, item_features],
        description="The reference's set: visitor, recent categories, product.",
    )
    v2 = FeatureService(
        name=HOME_PAGE_V2,
        features=[user_features, user_activity, item_features, item_popularity],
        description="Everything that one home page request reads: v1 and yesterday's popularity.",
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
