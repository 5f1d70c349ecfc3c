"""Feast: definitions applied, features materialised online; popularity beside them."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration.resources import Platform
from recsys_assets.orchestration.upstream import Upstream, dependencies, open_inputs


class OnlineInputs(TypedDict):
    features: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.POPULARITY)
    ]
    users: Annotated[Artifact, Upstream("raw/users")]
    items: Annotated[Artifact, Upstream("raw/items")]


class OnlinePopularityInputs(TypedDict):
    interactions: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.POPULARITY)]
    items: Annotated[Artifact, Upstream("raw/items")]


@dg.asset(key=["feature_store", "definitions"], kinds={"feast"})
def definitions(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """In: feature_repo/features.py. Out: entities, views and feature services in Feast's
    registry.
    """
    from feature_repo import apply
    from recsys_assets.lib.feature_store import store

    applied = apply.apply_features(store.open_store(platform.settings))
    return dg.MaterializeResult(metadata={name: list(values) for name, values in applied.items()})


@dg.asset(
    key=["feature_store", "online"],
    kinds={"feast", "redis"},
    partitions_def=partitions.daily(),
    deps=dependencies(OnlineInputs, "feature_store/definitions"),
)
def online(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """In: users, items, what visitors did in 7 days. Out: Feast's online store as of the day's end;
    it never goes back in time.
    """
    from recsys_assets.lib.feature_store import publish

    inputs = open_inputs(OnlineInputs, platform, context.partition_key)
    counts = publish.materialize_online(
        platform.settings, inputs["features"], users=inputs["users"], items=inputs["items"]
    )
    return dg.MaterializeResult(metadata={"dagster/row_count": sum(counts.values()), **counts})


@dg.asset(
    key=["feature_store", "popularity"],
    kinds={"redis"},
    partitions_def=partitions.daily(),
    deps=dependencies(OnlinePopularityInputs),
)
def popularity(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """In: interactions of the 7 days up to the day. Out: sorted sets in database 3: global, by
    category, by style.
    """
    from recsys_assets.lib.feature_store import publish
    from recsys_assets.lib.figures import tables

    inputs = open_inputs(OnlinePopularityInputs, platform, context.partition_key)
    top = publish.publish_popularity(platform.settings, inputs["interactions"], inputs["items"])
    return dg.MaterializeResult(
        metadata={
            "days": len(inputs["interactions"]),
            "dagster/row_count": top.height,
            "top": dg.MetadataValue.md(tables.markdown_table(top.head(10))),
        }
    )
