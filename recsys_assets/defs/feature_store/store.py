"""Define the assets of the feature store: definitions, features, popularity."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, freshness_policies, reporting
from recsys_assets.orchestration.resources import Platform
from recsys_assets.orchestration.upstream import Upstream, dependencies, open_inputs


class OnlineInputs(TypedDict):
    """Inputs of ``feature_store/online``."""

    features: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.CLICK_HISTORY)
    ]
    interactions: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.SEEN)]
    users: Annotated[Artifact, Upstream("raw/users")]
    items: Annotated[Artifact, Upstream("raw/items")]


class OnlinePopularityInputs(TypedDict):
    """Inputs of ``feature_store/popularity``."""

    interactions: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.POPULARITY)]
    items: Annotated[Artifact, Upstream("raw/items")]


@dg.asset(
    key=["feature_store", "definitions"], kinds={"feast"}, op_tags=compute.step_tags("CPU_SMALL")
)
def definitions(context: dg.AssetExecutionContext, platform: Platform) -> reporting.Materialized:
    """Applies the feature definitions to Feast's registry.

    Reads feature_repo/features.py. Writes entities, views, push sources and feature services. On
    AWS, it also creates the tables over the offline files in the Glue catalogue, or corrects them.
    """
    from feature_repo import apply
    from recsys_assets.lib.feature_store import glue_tables, store

    settings = platform.settings
    applied = apply.apply_features(store.open_store(settings), settings)
    if settings.target == "aws":
        tables = glue_tables.apply_glue_tables(settings)
        applied |= {f"tables_{done}": names for done, names in tables.items()}
    return dg.MaterializeResult(metadata={name: list(values) for name, values in applied.items()})


@dg.asset(
    key=["feature_store", "online"],
    freshness_policy=freshness_policies.ONLINE,
    kinds={"feast", "redis"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.daily(),
    deps=dependencies(OnlineInputs, "feature_store/definitions"),
)
def online(context: dg.AssetExecutionContext, platform: Platform) -> reporting.Materialized:
    """Writes features as of the end of a day to Feast's online store, and what visitors have seen.

    Reads users, items, and features and events of the last days. Writes one row per user or item
    and view; a stored row is replaced only by a newer one. Sets the bits of the events in the
    visitors' seen filters (Valkey, database 1), as far as they still count today.
    """
    from recsys_assets.lib.feature_store import longer_look_back, publish, seen_history
    from recsys_assets.lib.features.look_back import require_look_back

    day, settings = context.partition_key, platform.settings
    inputs = open_inputs(OnlineInputs, platform, day)
    # serving reads these rows with the look-back of the home, not with that of this run
    require_look_back(inputs["features"], platform.home_settings.look_back_days)
    counts = publish.materialize_online(
        settings, inputs["features"], users=inputs["users"], items=inputs["items"]
    )
    extended = longer_look_back.extend_online(settings, inputs["features"])
    seen = seen_history.publish_seen(settings, inputs["interactions"])
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(counts.values()),
            **counts,
            "extended_histories": extended,
            **dataclasses.asdict(seen),
        }
    )


@dg.asset(
    key=["feature_store", "popularity"],
    freshness_policy=freshness_policies.ONLINE,
    kinds={"redis"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.daily(),
    deps=dependencies(OnlinePopularityInputs),
)
def popularity(context: dg.AssetExecutionContext, platform: Platform) -> reporting.Materialized:
    """Writes the popularity of items in the days up to a day to Valkey (databases 3 and 1).

    Reads raw interactions and items. Writes sorted sets of items by clicks: over all items, per
    category and per style. Raises the counts of what is popular now to those of the log, where the
    event consumer has not counted as many clicks.
    """
    from recsys_assets.lib.feature_store import popular_history, publish
    from recsys_assets.lib.figures import tables

    inputs = open_inputs(OnlinePopularityInputs, platform, context.partition_key)
    top = publish.publish_popularity(platform.settings, inputs["interactions"], inputs["items"])
    now = popular_history.publish_popular_now(platform.settings, inputs["interactions"])
    return dg.MaterializeResult(
        metadata={
            "days": len(inputs["interactions"]),
            "dagster/row_count": top.height,
            **dataclasses.asdict(now),
            "top": dg.MetadataValue.md(tables.markdown_table(top.head(10))),
        }
    )
