"""Two-tower retrieval: the towers, the catalogue's vectors, the index."""

from collections.abc import Sequence
from typing import TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import compute, partitions, reporting
from recsys_assets.artifacts import Artifact
from recsys_assets.hyper_parameters import TwoTowerParams
from recsys_assets.pipes import TrainingClient
from recsys_assets.resources import BuildConfig, Platform
from recsys_assets.step_config import config_of


@config_of(TwoTowerParams)
class TwoTowerConfig(BuildConfig):
    """Config of the asset: the parameters of its training step."""


RECALL = {"recall": "Validation recall@100 over the whole catalogue is above a random ranking's."}
AGREEMENT = {"agreement": "The index finds what brute force finds: its recall is at least the configured floor (0.999 where it is exact)."}


@dg.asset(
    key=["retrieval", "two_tower"], kinds={"tensorflow", "merlin"}, partitions_def=partitions.as_of(),
    op_tags=compute.op_tags("GPU_TRAIN"), pool="training",
    deps=[["features", "datasets"], ["features", "workflows"], ["embeddings", "aligned"]],
    check_specs=reporting.check_specs(["retrieval", "two_tower"], RECALL, partitions.as_of()),
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
        write=lambda staged: retrieval_tables.write_item_vectors(**inputs, target=staged.path))
    return reporting.result(built.artifact, reused=built.reused)


class FaissIndexConfig(BuildConfig):
    recall_floor: float = Field(default=0.99, gt=0, le=1, description="Share of brute force's 300 nearest items that an "
                                "approximate index must find; the fastest that does is taken.")
    exact_limit: int = Field(default=50_000, ge=1, description="Items from which the index is approximate (IVF or HNSW).")


class FaissIndexInputs(TypedDict):
    item_vectors: Artifact
    two_tower: Artifact


class FaissIndexParams(TypedDict):
    floor: float
    exact_limit: int


@dg.asset(key=["retrieval", "faiss_index"], kinds={"faiss"}, partitions_def=partitions.as_of(),
          deps=[["retrieval", "item_vectors"], ["retrieval", "two_tower"]],
          check_specs=reporting.check_specs(["retrieval", "faiss_index"], AGREEMENT, partitions.as_of()))
def faiss_index(context: dg.AssetExecutionContext, config: FaissIndexConfig, platform: Platform) -> dg.MaterializeResult:
    """In: item vectors, held-out query embeddings. Out: a FAISS index by inner product whose ids are the item indices."""
    from recsys_assets.lib import retrieval_tables

    as_of, store = context.partition_key, platform.store
    vectors = store.current("retrieval/item_vectors", as_of)
    inputs: FaissIndexInputs = {"item_vectors": vectors, "two_tower": store.open(vectors.manifest["inputs"]["two_tower"])}
    params: FaissIndexParams = {"floor": config.recall_floor, "exact_limit": config.exact_limit}
    built = platform.build(
        context, "retrieval/faiss_index", partition=as_of, inputs=inputs, params=params, force=config.force,
        write=lambda staged: retrieval_tables.write_index(**inputs, target=staged.path, **params))
    recall, floor = built.artifact.metrics["recall"], built.artifact.metrics["recall_floor"]
    return reporting.result(built.artifact, reused=built.reused, checks=[
        reporting.check("agreement", recall >= floor, value=recall, threshold=floor, index=built.artifact.metrics["kind"])])


class PopularityInputs(TypedDict):
    interactions: Sequence[Artifact]
    items: Artifact


@dg.asset(key=["retrieval", "popularity"], kinds={"polars"}, partitions_def=partitions.as_of(),
          deps=[dg.AssetDep(["raw", "interactions"], partition_mapping=partitions.training_window()), ["raw", "items"]])
def popularity(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform) -> dg.MaterializeResult:
    """In: interactions of the training days. Out: every item with its clicks, most clicked first: baseline and backfill."""
    from recsys_assets.lib import retrieval_tables

    as_of, store = context.partition_key, platform.store
    inputs: PopularityInputs = {
        "interactions": store.require("raw/interactions", partitions.train_days(as_of)), "items": store.current("raw/items")}
    built = platform.build(
        context, "retrieval/popularity", partition=as_of, inputs=inputs, force=config.force,
        write=lambda staged: retrieval_tables.write_popularity(**inputs, target=staged.path))
    return reporting.result(built.artifact, reused=built.reused)
