"""The embedding table in the order of the workflows' item index."""

import dagster as dg

from recsys_assets import partitions, reporting
from recsys_assets.resources import BuildConfig, Platform


@dg.asset(key=["embeddings", "aligned"], kinds={"numpy"}, partitions_def=partitions.as_of(),
          deps=[["embeddings", "items"], ["features", "workflows"], ["raw", "items"], ["retrieval", "popularity"]])
def aligned(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: item embeddings, the item workflow, clicks of the training days. Out: a 128-wide row an item index, and the
    item tower's inputs, in which an item without a click has no id of its own."""
    from recsys_assets.lib import embedding_tables

    as_of, store = context.partition_key, platform.store
    inputs = {"workflows": store.current("features/workflows", as_of), "embeddings": store.current("embeddings/items"),
              "items": store.current("raw/items"), "popularity": store.current("retrieval/popularity", as_of)}
    built = platform.build(
        context, "embeddings/aligned", partition=as_of, inputs=inputs, force=config.force,
        write=lambda staged: embedding_tables.write_aligned(**inputs, target=staged.path))
    return reporting.result(built.artifact, reused=built.reused)
