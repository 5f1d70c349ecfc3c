"""Point-in-time features and masked training rows, a day at a time."""

import dagster as dg

from recsys_assets import columns as c
from recsys_assets import partitions, reporting
from recsys_assets.resources import BuildConfig, Platform

LEAKAGE = {"point_in_time": "On a sample, the features of an event stay the same when everything from it on is removed."}
MASKED = {"masked_share": "Between 3 and 7 % of rows have a masked visitor, and as many a masked device (1,000 rows or more)."}


@dg.asset(
    key=["features", "interactions"], kinds={"polars", "parquet"}, partitions_def=partitions.daily(), pool="cpu",
    deps=[dg.AssetDep(["raw", "interactions"], partition_mapping=partitions.day_and_the_day_before()),
          ["raw", "users"], ["raw", "items"]],
    check_specs=reporting.check_specs(["features", "interactions"], partitions.daily(), **LEAKAGE),
)
def interaction_features(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: raw interactions of the day and the day before, users, items. Out: one row an exposure, as of just before it."""
    from recsys_assets.lib import feature_tables

    day, store = context.partition_key, platform.store
    inputs = {"interactions": store.require("raw/interactions", partitions.day_with_history(platform.settings, day)),
              "users": store.current("raw/users"), "items": store.current("raw/items")}
    built = platform.build(
        context, "features/interactions", partition=day, inputs=inputs, force=config.force,
        code=["recsys_assets.lib.features", "recsys_assets.lib.feature_tables"],
        write=lambda staged: feature_tables.write_features(inputs, day, staged.path))
    changed = feature_tables.changed_without_the_future(inputs, built.artifact, day)
    return reporting.result(built.artifact, reused=built.reused, columns=c.INTERACTION_FEATURES, checks=[
        reporting.check("point_in_time", changed == 0, value=changed, threshold=0)])


@dg.asset(
    key=["features", "masked_train"], kinds={"polars", "parquet"}, partitions_def=partitions.daily(),
    deps=[["features", "interactions"]],
    check_specs=reporting.check_specs(["features", "masked_train"], partitions.daily(), **MASKED),
)
def masked_train(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: the day's features. Out: the same rows, 5 % as if the visitor and 5 % as if the device were unknown."""
    from recsys_assets.lib import feature_tables

    day = context.partition_key
    inputs = {"features": platform.store.current("features/interactions", day)}
    seed = platform.settings.seed
    built = platform.build(
        context, "features/masked_train", partition=day, inputs=inputs, params={"seed": seed}, force=config.force,
        code=["recsys_assets.lib.features", "recsys_assets.lib.feature_tables"],
        write=lambda staged: feature_tables.write_masked(inputs["features"], day, seed, staged.path))
    shares = {name: built.artifact.metrics[name] for name in ("masked_visitors", "masked_devices")}
    enough = built.artifact.metrics["rows"] >= 1000
    return reporting.result(built.artifact, reused=built.reused, columns=c.INTERACTION_FEATURES, checks=[
        reporting.check("masked_share", not enough or all(0.03 <= s <= 0.07 for s in shares.values()),
                        value=shares, threshold=[0.03, 0.07])])
