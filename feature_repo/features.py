"""Feast's definitions: two entities, three views, the live push source and the home page's feature service.

``define`` builds them for one target; the module's own names are the same objects for the configured target, so that
``feast apply`` and ``feast ui`` find them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_source import DataSource
from feast.types import Float32, Float64, String

from recsys_assets.columns import (
    AGE,
    CATEGORY_L1,
    CATEGORY_L2,
    GENDER,
    ITEM_GENDER,
    ITEM_ID,
    PRICE,
    TOP_CATEGORY,
    USER_ID,
)
from recsys_assets.lib.feature_store import (
    EVENT_TIMESTAMP,
    HOME_PAGE,
    ITEM_FEATURES,
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
    user_activity_push: PushSource
    home_page_v1: FeatureService


def _source(settings: Settings, view: str) -> DataSource:
    if settings.target == "aws":
        from feast.infra.offline_stores.contrib.athena_offline_store.athena_source import AthenaSource

        return AthenaSource(name=f"{view}_source", table=view, database=settings.athena_database,
                            data_source=settings.athena_data_source, timestamp_field=EVENT_TIMESTAMP)
    return FileSource(name=f"{view}_source", path=offline_path(settings, view), timestamp_field=EVENT_TIMESTAMP)


def define(settings: Settings) -> Definitions:
    user = Entity(name="user", join_keys=[USER_ID], value_type=ValueType.STRING, description="A visitor.")
    item = Entity(name="item", join_keys=[ITEM_ID], value_type=ValueType.STRING, description="A product.")
    user_features = FeatureView(
        name=USER_FEATURES, entities=[user], ttl=TTL, source=_source(settings, USER_FEATURES),
        schema=[Field(name=USER_ID, dtype=String), Field(name=AGE, dtype=Float32), Field(name=GENDER, dtype=String)],
        description="What the shop knows about a registered visitor.")
    push = PushSource(name=USER_ACTIVITY_PUSH, batch_source=_source(settings, USER_ACTIVITY))
    user_activity = FeatureView(
        name=USER_ACTIVITY, entities=[user], ttl=TTL, source=push,
        schema=[Field(name=USER_ID, dtype=String), Field(name=TOP_CATEGORY, dtype=String)],
        description="Most frequent category of the visitor's last 24 hours; its timestamp is the last event's.")
    item_features = FeatureView(
        name=ITEM_FEATURES, entities=[item], ttl=TTL, source=_source(settings, ITEM_FEATURES),
        # the key is named too: else apply would read the table, which may not be written yet
        schema=[Field(name=ITEM_ID, dtype=String), Field(name=PRICE, dtype=Float64),
                Field(name=CATEGORY_L1, dtype=String), Field(name=CATEGORY_L2, dtype=String),
                Field(name=ITEM_GENDER, dtype=String)],
        description="What the ranker reads of a product beside its embeddings.")
    home_page = FeatureService(name=HOME_PAGE, features=[user_features, user_activity, item_features],
                               description="Everything that one home page request reads.")
    return Definitions(user, item, user_features, user_activity, item_features, push, home_page)


user, item, user_features, user_activity, item_features, user_activity_push, home_page_v1 = define(get_settings())
