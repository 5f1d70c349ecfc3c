"""Two-tower retrieval: the towers, the catalogue's vectors, the index."""

import dagster as dg
from pydantic import Field

from recsys_assets import compute, partitions, reporting
from recsys_assets.pipes import TrainingClient
from recsys_assets.resources import BuildConfig, Platform


class TwoTowerConfig(BuildConfig):
    epochs: int = Field(default=6, ge=1, description="Passes over the clicked rows of the training days.")
    batch_size: int = Field(default=1024, ge=16, description="Rows a step; also the number of in-batch negatives.")
    learning_rate: float = Field(default=2e-3, gt=0)
    temperature: float = Field(default=0.1, gt=0, description="Divides the logits of the in-batch softmax.")
    use_context: bool = Field(default=True, description="Device, hour and weekday in the query tower; off to compare.")


RECALL = {"recall": "Validation recall@100 over the whole catalogue is above a random ranking's."}
EXACT = {"exact": "The index answers as brute force does."}


@dg.asset(
    key=["retrieval", "two_tower"], kinds={"tensorflow", "merlin"}, partitions_def=partitions.as_of(),
    op_tags=compute.op_tags("GPU_TRAIN"), pool="training",
    deps=[["features", "datasets"], ["features", "workflows"], ["embeddings", "aligned"]],
    check_specs=reporting.check_specs(["retrieval", "two_tower"], partitions.as_of(), **RECALL),
)
def two_tower(context: dg.AssetExecutionContext, config: TwoTowerConfig, platform: Platform,
              training: TrainingClient) -> dg.MaterializeResult:
    """In: data sets, aligned embeddings. Out: query and item tower: checkpoint and ONNX."""
    as_of, store = context.partition_key, platform.store
    aligned = store.current("embeddings/aligned", as_of)
    inputs = {"datasets": store.current("features/datasets", as_of), "workflows": store.current("features/workflows", as_of),
              "embeddings": aligned, "item_inputs": aligned}
    built = training.build(context, platform, "retrieval/two_tower", "two_tower", partition=as_of, inputs=inputs,
                           params={**config.model_dump(exclude={"force"}), "seed": platform.settings.seed}, force=config.force)
    recall, items = built.artifact.metrics["recall@100"], aligned.metrics["items"]
    return reporting.result(built.artifact, reused=built.reused, checks=[
        reporting.check("recall", recall > min(1.0, 100 / items) or items <= 100, value=recall, threshold=100 / items)])


@dg.asset(key=["retrieval", "item_vectors"], kinds={"onnx"}, partitions_def=partitions.as_of(),
          deps=[["retrieval", "two_tower"], ["embeddings", "aligned"]])
def item_vectors(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: the item tower, the catalogue's inputs. Out: one 64-wide vector an item."""
    from recsys_assets.lib import retrieval_tables

    as_of, store = context.partition_key, platform.store
    inputs = {"two_tower": store.current("retrieval/two_tower", as_of), "aligned": store.current("embeddings/aligned", as_of)}
    built = platform.build(
        context, "retrieval/item_vectors", partition=as_of, inputs=inputs, force=config.force,
        code=["recsys_assets.lib.item_tables", "recsys_assets.lib.retrieval_tables"],
        write=lambda staged: retrieval_tables.write_item_vectors(**inputs, target=staged.path))
    return reporting.result(built.artifact, reused=built.reused)


@dg.asset(key=["retrieval", "faiss_index"], kinds={"faiss"}, partitions_def=partitions.as_of(), deps=[["retrieval", "item_vectors"]],
          check_specs=reporting.check_specs(["retrieval", "faiss_index"], partitions.as_of(), **EXACT))
def faiss_index(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: item vectors. Out: a FAISS index by inner product whose ids are the item indices."""
    from recsys_assets.lib import retrieval_tables

    as_of = context.partition_key
    vectors = platform.store.current("retrieval/item_vectors", as_of)
    built = platform.build(
        context, "retrieval/faiss_index", partition=as_of, inputs={"item_vectors": vectors}, force=config.force,
        code=["recsys_assets.lib.index", "recsys_assets.lib.retrieval_tables"],
        write=lambda staged: retrieval_tables.write_index(vectors, staged.path))
    agreement = built.artifact.metrics["recall"]
    return reporting.result(built.artifact, reused=built.reused, checks=[
        reporting.check("exact", agreement >= 0.999, value=agreement, threshold=0.999)])


@dg.asset(key=["retrieval", "popularity"], kinds={"polars"}, partitions_def=partitions.as_of(),
          deps=[dg.AssetDep(["raw", "interactions"], partition_mapping=partitions.training_window()), ["raw", "items"]])
def popularity(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: interactions of the training days. Out: every item with its clicks, most clicked first: baseline and backfill."""
    from recsys_assets.lib import retrieval_tables

    as_of, store = context.partition_key, platform.store
    inputs = {"interactions": store.require("raw/interactions", partitions.train_days(as_of)), "items": store.current("raw/items")}
    built = platform.build(
        context, "retrieval/popularity", partition=as_of, inputs=inputs, force=config.force,
        code=["recsys_assets.lib.popularity", "recsys_assets.lib.retrieval_tables"],
        write=lambda staged: retrieval_tables.write_popularity(**inputs, target=staged.path))
    return reporting.result(built.artifact, reused=built.reused)
