"""Define the asset of the embedding table in the order of the item index."""

from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class AlignedInputs(TypedDict):
    """Inputs of ``embeddings/aligned``."""

    workflows: Annotated[Artifact, Upstream("features/workflows", SAME)]
    embeddings: Annotated[Artifact, Upstream("embeddings/items")]
    items: Annotated[Artifact, Upstream("raw/items")]
    popularity: Annotated[Artifact, Upstream("features/popularity", SAME)]


@dg.asset(
    key=["embeddings", "aligned"],
    kinds={"numpy"},
    op_tags=compute.step_tags("CPU_LARGE"),
    partitions_def=partitions.as_of(),
    deps=dependencies(AlignedInputs),
)
def aligned(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Orders the item embeddings by item index, per as-of day.

    Reads item embeddings, workflows, items and clicks of the training days. Writes one row of 128
    numbers per item index, and the inputs of the item tower. In these inputs, an item without
    clicks has the out-of-vocabulary id.
    """
    from recsys_assets.lib.embeddings import tables

    inputs = open_inputs(AlignedInputs, platform, context.partition_key)
    built = platform.build(
        context,
        "embeddings/aligned",
        partition=context.partition_key,
        inputs=inputs,
        force=config.force,
        write=lambda staged: tables.write_aligned(**inputs, target=staged.path),
    )
    return reporting.result(built.artifact, reused=built.reused)
