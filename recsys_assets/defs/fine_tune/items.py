"""Define the asset that adds the new items of a day to those of the champion."""

from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class AddedItemsInputs(TypedDict):
    """Inputs of ``fine_tune/items``."""

    rows: Annotated[Artifact, Upstream("fine_tune/rows", SAME)]
    items: Annotated[Artifact, Upstream("raw/items")]


@dg.asset(
    key=["fine_tune", "items"],
    kinds={"faiss", "onnx"},
    partitions_def=partitions.daily(),
    pool="embedding",
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(AddedItemsInputs),
)
def items(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Adds the new items of the catalogue to those of the champion, per day.

    Reads the catalogue and the champion's items, encoders and item tower, which is frozen. Writes
    vocabulary, embeddings, item vectors and index with one more row per new item; the rows of other
    items stay, to the bit. The metric "entered" counts the new items, and "names" has the first of
    them. "waiting" counts those for which there is no room before the next full training, and
    "left" those that the catalogue no longer has and the release keeps.
    """
    from recsys_assets.lib.fine_tune import added_items

    day, store = context.partition_key, platform.store
    inputs = open_inputs(AddedItemsInputs, platform, day)
    built = platform.build(
        context,
        "fine_tune/items",
        partition=day,
        inputs={**inputs},
        force=config.force,
        write=lambda staged: added_items.write_added_items(
            store, **inputs, settings=platform.settings, target=staged.path, log=context.log.info
        ),
    )
    return reporting.result(built.artifact, reused=built.reused)
