"""The held-out clicks that every system is asked for."""

from collections.abc import Sequence
from typing import TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import partitions, reporting
from recsys_assets.artifacts import Artifact
from recsys_assets.resources import BuildConfig, Platform


class QueriesConfig(BuildConfig):
    limit: int = Field(default=20_000, ge=1, description="Clicks that are asked for, about; above it whole users are sampled.")


class QueriesInputs(TypedDict):
    features: Sequence[Artifact]
    interactions: Sequence[Artifact]
    items: Artifact


class QueriesParams(TypedDict):
    seed: int
    seen_days: int
    limit: int


@dg.asset(
    key=["evaluation", "queries"], kinds={"polars"}, partitions_def=partitions.as_of(),
    deps=[["raw", "items"], dg.AssetDep(["raw", "interactions"], partition_mapping=partitions.whole_window()),
          dg.AssetDep(["features", "interactions"], partition_mapping=partitions.whole_window())],
)
def queries(context: dg.AssetExecutionContext, config: QueriesConfig, platform: Platform) -> dg.MaterializeResult:
    """In: clicks of the 3 validation days, the log of the window. Out: one row a query, what its list may not show, slices."""
    from recsys_assets.lib.queries import Queries

    as_of, store, settings = context.partition_key, platform.store, platform.settings
    inputs: QueriesInputs = {
        "features": store.require("features/interactions", partitions.validation_days(as_of)),
        "interactions": store.require("raw/interactions", partitions.window_days(as_of)), "items": store.current("raw/items")}
    params: QueriesParams = {"seed": settings.seed, "seen_days": settings.seen_days, "limit": config.limit}
    built = platform.build(
        context, "evaluation/queries", partition=as_of, inputs=inputs, params=params, force=config.force,
        write=lambda staged: Queries.build(**inputs, **params).write(staged.path))
    return reporting.result(built.artifact, reused=built.reused)
