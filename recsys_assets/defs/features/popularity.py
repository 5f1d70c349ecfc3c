"""Define the asset of clicks per item over the training days."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import Upstream, dependencies, open_inputs


class PopularityInputs(TypedDict):
    """Inputs of ``features/popularity``."""

    interactions: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.TRAINING)]
    items: Annotated[Artifact, Upstream("raw/items")]


@dg.asset(
    key=["features", "popularity"],
    kinds={"polars"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.as_of(),
    deps=dependencies(PopularityInputs),
)
def popularity(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Counts the clicks per item over the training days, per as-of day.

    Reads raw interactions and items. Writes one row per item, most clicked first. The table is a
    baseline and the backfill list of serving.
    """
    from recsys_assets.lib.features import popularity as lib

    inputs = open_inputs(PopularityInputs, platform, context.partition_key)
    built = platform.build(
        context,
        "features/popularity",
        partition=context.partition_key,
        inputs=inputs,
        force=config.force,
        write=lambda staged: lib.write_popularity(**inputs, target=staged.path),
    )
    return reporting.result(built.artifact, reused=built.reused)
