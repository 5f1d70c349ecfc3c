"""Feast: definitions applied, features materialised online; popularity and mean age beside them."""

import dagster as dg

from recsys_assets import partitions, reporting
from recsys_assets.resources import BuildConfig, Platform


@dg.asset(key=["feature_store", "definitions"], kinds={"feast"})
def definitions(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """In: feature_repo/features.py. Out: entities, views and feature services in Feast's registry."""
    from recsys_assets.lib import feature_store

    applied = feature_store.apply_features(feature_store.open_store(platform.settings))
    return dg.MaterializeResult(metadata={name: list(values) for name, values in applied.items()})


@dg.asset(key=["feature_store", "online"], kinds={"feast", "redis"}, partitions_def=partitions.daily(),
          deps=[["feature_store", "definitions"], ["raw", "users"], ["raw", "items"],
                dg.AssetDep(["features", "interactions"], partition_mapping=partitions.look_back_window())])
def online(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """In: users, items, what visitors did in 7 days. Out: Feast's online store as of the day's end; it never goes back in time."""
    from recsys_assets.lib import feature_tables

    day, store = context.partition_key, platform.store
    counts = feature_tables.materialize_online(
        platform.settings, store.require("features/interactions", partitions.recent_days(platform.settings, day)),
        users=store.current("raw/users"), items=store.current("raw/items"))
    return dg.MaterializeResult(metadata={"dagster/row_count": sum(counts.values()), **counts})


@dg.asset(key=["feature_store", "popularity"], kinds={"redis"}, partitions_def=partitions.daily(),
          deps=[dg.AssetDep(["raw", "interactions"], partition_mapping=partitions.replay_window()), ["raw", "items"]])
def popularity(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
    """In: interactions of the 7 days up to the day. Out: sorted sets in database 3: global, by category, by style."""
    from recsys_assets.lib import feature_tables

    day, store = context.partition_key, platform.store
    days = partitions.recent_days(platform.settings, day)
    top = feature_tables.publish_popularity(platform.settings, store.require("raw/interactions", days), store.current("raw/items"))
    return dg.MaterializeResult(metadata={"days": len(days), "dagster/row_count": top.height,
                                          "top": dg.MetadataValue.md(feature_tables.markdown_table(top.head(10)))})


@dg.asset(key=["feature_store", "mean_age"], kinds={"json"}, partitions_def=partitions.as_of(), deps=[["features", "workflows"]])
def mean_age(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: the user workflow. Out: the training rows' mean age, which a cold visitor gets."""
    from recsys_assets.lib import feature_tables

    as_of = context.partition_key
    workflows = platform.store.current("features/workflows", as_of)
    built = platform.build(
        context, "feature_store/mean_age", partition=as_of, inputs={"workflows": workflows}, force=config.force,
        write=lambda staged: feature_tables.write_mean_age(workflows, staged.path))
    return reporting.result(built.artifact, reused=built.reused)
