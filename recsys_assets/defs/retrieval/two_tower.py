"""Two-tower retrieval: the towers, the catalogue's vectors, the index."""

import dataclasses
from typing import Annotated, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.defs.retrieval.model_inputs import ALIGNED, ModelInputs
from recsys_assets.hyper_parameters import TwoTowerParams
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.pipes import TrainingClient
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.step_config import config_of
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


@config_of(TwoTowerParams)
class TwoTowerConfig(BuildConfig):
    """Config of the asset: the parameters of its training step."""


RECALL = {"recall": "Validation recall@100 over the whole catalogue is above a random ranking's."}
AGREEMENT = {
    "agreement": "The index finds what brute force finds: its recall is at least the configured "
    "floor (0.999 where it is exact)."
}


@dg.asset(
    key=["retrieval", "two_tower"],
    kinds={"tensorflow", "merlin"},
    partitions_def=partitions.as_of(),
    op_tags=compute.op_tags("GPU_TRAIN"),
    pool="training",
    deps=dependencies(ModelInputs),
    check_specs=reporting.check_specs(["retrieval", "two_tower"], RECALL, partitions.as_of()),
)
def two_tower(
    context: dg.AssetExecutionContext,
    config: TwoTowerConfig,
    platform: Platform,
    training: TrainingClient,
) -> dg.MaterializeResult:
    """In: data sets, aligned embeddings. Out: query and item tower: checkpoint and ONNX."""
    inputs = open_inputs(ModelInputs, platform, context.partition_key)
    built = training.build(
        context,
        platform,
        "retrieval/two_tower",
        "retrieval.two_tower",
        partition=context.partition_key,
        inputs=inputs,
        params={**config.model_dump(exclude={"force"}), "seed": platform.settings.seed},
        force=config.force,
    )
    recall, items = built.artifact.metrics["recall@100"], inputs["item_inputs"].metrics["items"]
    return reporting.result(
        built.artifact,
        reused=built.reused,
        checks=[
            reporting.check(
                "recall",
                recall > min(1.0, 100 / items) or items <= 100,
                value=recall,
                threshold=100 / items,
            )
        ],
    )


class VectorsInputs(TypedDict):
    two_tower: Annotated[Artifact, Upstream("retrieval/two_tower", SAME)]
    aligned: Annotated[Artifact, ALIGNED]


@dg.asset(
    key=["retrieval", "item_vectors"],
    kinds={"onnx"},
    partitions_def=partitions.as_of(),
    deps=dependencies(VectorsInputs),
)
def item_vectors(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: the item tower, the catalogue's inputs. Out: one 64-wide vector an item."""
    from recsys_assets.lib.retrieval import tables

    inputs = open_inputs(VectorsInputs, platform, context.partition_key)
    built = platform.build(
        context,
        "retrieval/item_vectors",
        partition=context.partition_key,
        inputs=inputs,
        force=config.force,
        write=lambda staged: tables.write_item_vectors(**inputs, target=staged.path),
    )
    return reporting.result(built.artifact, reused=built.reused)


class FaissIndexConfig(BuildConfig):
    recall_floor: float = Field(
        default=0.99,
        gt=0,
        le=1,
        description="Share of brute force's 300 nearest items that an "
        "approximate index must find; the fastest that does is taken.",
    )
    exact_limit: int = Field(
        default=50_000, ge=1, description="Items from which the index is approximate (IVF or HNSW)."
    )


VECTORS = Upstream("retrieval/item_vectors", SAME)


class FaissIndexInputs(TypedDict):
    item_vectors: Annotated[Artifact, VECTORS]
    two_tower: Annotated[
        Artifact, dataclasses.replace(VECTORS, recorded="two_tower")
    ]  # the one that made these vectors


class FaissIndexParams(TypedDict):
    floor: float
    exact_limit: int


@dg.asset(
    key=["retrieval", "faiss_index"],
    kinds={"faiss"},
    partitions_def=partitions.as_of(),
    deps=dependencies(FaissIndexInputs),
    check_specs=reporting.check_specs(["retrieval", "faiss_index"], AGREEMENT, partitions.as_of()),
)
def faiss_index(
    context: dg.AssetExecutionContext, config: FaissIndexConfig, platform: Platform
) -> dg.MaterializeResult:
    """In: item vectors, held-out query embeddings. Out: a FAISS index by inner product whose ids
    are the item indices.
    """
    from recsys_assets.lib.retrieval import tables

    inputs = open_inputs(FaissIndexInputs, platform, context.partition_key)
    params: FaissIndexParams = {"floor": config.recall_floor, "exact_limit": config.exact_limit}
    built = platform.build(
        context,
        "retrieval/faiss_index",
        partition=context.partition_key,
        inputs=inputs,
        params=params,
        force=config.force,
        write=lambda staged: tables.write_index(**inputs, target=staged.path, **params),
    )
    recall, floor = built.artifact.metrics["recall"], built.artifact.metrics["recall_floor"]
    return reporting.result(
        built.artifact,
        reused=built.reused,
        checks=[
            reporting.check(
                "agreement",
                recall >= floor,
                value=recall,
                threshold=floor,
                index=built.artifact.metrics["kind"],
            )
        ],
    )
