"""Define the assets of two-tower retrieval: towers, item vectors and index."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

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
    """Config of ``retrieval/two_tower``: the parameters of its training step."""


RECALL = {
    "recall": "Recall@100 on the validation days, over the whole catalogue, is above what a random "
    "ranking reaches by chance. Warns otherwise."
}
AGREEMENT = {
    "agreement": "The index's recall of the items that brute force finds is at least the "
    "configured floor (0.999 if the index is exact)."
}


@dg.asset(
    key=["retrieval", "two_tower"],
    kinds={"tensorflow", "merlin"},
    partitions_def=partitions.as_of(),
    op_tags=compute.op_tags("GPU_TRAIN"),
    pool="training",
    deps=dependencies(ModelInputs),
    check_specs=reporting.check_specs(
        ["retrieval", "two_tower"], RECALL, partitions.as_of(), blocking=False
    ),
)
def two_tower(
    context: dg.AssetExecutionContext,
    config: TwoTowerConfig,
    platform: Platform,
    training: TrainingClient,
) -> reporting.Materialized:
    """Trains the query tower and the item tower for retrieval, per as-of day.

    Reads the data sets, the workflows and the aligned embeddings. Writes both towers as checkpoint
    and ONNX.
    """
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
    return reporting.result(
        built.artifact, reused=built.reused, checks=[_recall(built.artifact.metrics)]
    )


def _recall(metrics: Mapping[str, Any]) -> dg.AssetCheckResult:
    """Return the check of recall against what chance gives with so many clicks."""
    from recsys_assets.lib.evaluation.chance import chance_recall

    recall, clicks = metrics["recall@100"], metrics["validation_clicks"]
    bound = chance_recall(metrics["random_recall@100"], clicks)
    # no recall is above 1: the list holds the whole catalogue, or there are too few clicks
    few = bound >= 1.0
    return reporting.check(
        "recall",
        few or recall > bound,
        value=f"too few to judge: {clicks} clicks, {metrics['items']} items" if few else recall,
        threshold=bound,
        blocking=False,
        clicks=clicks,
    )


class VectorsInputs(TypedDict):
    """Inputs of ``retrieval/item_vectors``."""

    two_tower: Annotated[Artifact, Upstream("retrieval/two_tower", SAME)]
    aligned: Annotated[Artifact, ALIGNED]


@dg.asset(
    key=["retrieval", "item_vectors"],
    kinds={"onnx"},
    op_tags=compute.step_tags("CPU_MEDIUM"),
    partitions_def=partitions.as_of(),
    deps=dependencies(VectorsInputs),
)
def item_vectors(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Computes the item tower's vectors of the whole catalogue, per as-of day.

    Reads the item tower and its inputs. Writes one vector of 64 numbers per item.
    """
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
    """Config of ``retrieval/faiss_index``."""

    recall_floor: float = Field(
        default=0.99,
        gt=0,
        le=1,
        description="Minimum share of the 300 nearest items by brute force that an approximate "
        "index must find. The fastest index above it is chosen.",
    )
    exact_limit: int = Field(
        default=50_000,
        ge=1,
        description="Number of items from which the index is approximate (IVF or HNSW).",
    )


VECTORS = Upstream("retrieval/item_vectors", SAME)


class FaissIndexInputs(TypedDict):
    """Inputs of ``retrieval/faiss_index``; ``two_tower`` made the vectors."""

    item_vectors: Annotated[Artifact, VECTORS]
    two_tower: Annotated[Artifact, dataclasses.replace(VECTORS, recorded="two_tower")]


class FaissIndexParams(TypedDict):
    """Parameters of ``retrieval/faiss_index``, as its manifest records them."""

    floor: float
    exact_limit: int


@dg.asset(
    key=["retrieval", "faiss_index"],
    kinds={"faiss"},
    op_tags=compute.step_tags("CPU_LARGE"),
    partitions_def=partitions.as_of(),
    deps=dependencies(FaissIndexInputs),
    check_specs=reporting.check_specs(["retrieval", "faiss_index"], AGREEMENT, partitions.as_of()),
)
def faiss_index(
    context: dg.AssetExecutionContext, config: FaissIndexConfig, platform: Platform
) -> reporting.Materialized:
    """Builds the FAISS index of the item vectors by inner product, per as-of day.

    Reads the item vectors and held-out query embeddings. Writes one entry per item, with the item
    index as its id.
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
