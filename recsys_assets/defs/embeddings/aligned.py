"""The embedding table in the order of the workflows' item index."""

from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class AlignedInputs(TypedDict):
    workflows: Annotated[Artifact, Upstream("features/workflows", SAME)]
    embeddings: Annotated[Artifact, Upstream("embeddings/items")]
    items: Annotated[Artifact, Upstream("raw/items")]
    popularity: Annotated[Artifact, Upstream("features/popularity", SAME)]


@dg.asset(
    key=["embeddings", "aligned"],
    kinds={"numpy"},
    partitions_def=partitions.as_of(),
    deps=dependencies(AlignedInputs),
)
def aligned(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: item embeddings, the item workflow, clicks of the training days. Out: a 128-wide row an
    item index, and the item tower's inputs, in which an item without a click has no id of its
    own.
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
