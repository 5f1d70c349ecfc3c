"""Define the assets of the simple rungs: popularity and item-to-item."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.corrections import require_read
from recsys_assets.orchestration.pipes import TrainingClient
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class SimpleRungInputs(TypedDict):
    """Inputs of ``ladder/simple_rung``."""

    train: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.TRAINING)]
    valid: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.VALIDATION)]
    fitted: Annotated[Artifact, Upstream("sources/item_to_item", SAME)]
    log: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.WHOLE_WINDOW)]
    queries: Annotated[Artifact, Upstream("evaluation/queries", SAME)]
    workflows: Annotated[Artifact, Upstream("features/workflows", SAME)]


class SimpleRungParams(TypedDict):
    """Parameters of ``ladder/simple_rung``, as its manifest records them."""

    seed: int
    look_back_days: int


CHOICE = dg.AssetCheckSpec(
    "rung",
    asset=dg.AssetKey(["ladder", "simple_rung"]),
    partitions_def=partitions.as_of(),
    description="The log has enough clicks to train the full models. Warns otherwise, and says "
    "what is lacking; a release of a simple rung serves meanwhile.",
)


@dg.asset(
    key=["ladder", "simple_rung"],
    kinds={"scipy", "faiss"},
    partitions_def=partitions.as_of(),
    pool="cpu",
    op_tags=compute.step_tags("CPU_LARGE"),
    deps=dependencies(SimpleRungInputs),
    check_specs=[CHOICE],
)
def simple_rung(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Chooses between popularity and item-to-item by held-out clicks, per as-of day.

    Reads the fitted item-to-item, the events of the window, the queries and the workflows. Writes
    the vectors of all items, the index and the reason for the choice. One row of the log is enough.
    """
    from recsys_assets.lib.ladder import simple_rung as ladder

    as_of, settings = context.partition_key, platform.settings
    inputs = open_inputs(SimpleRungInputs, platform, as_of)
    require_read(context, platform, partitions.window_days(as_of, settings))
    params: SimpleRungParams = {"seed": settings.seed, "look_back_days": settings.look_back_days}
    built = platform.build(
        context,
        "ladder/simple_rung",
        partition=as_of,
        inputs=inputs,
        params={**params},
        force=config.force,
        write=lambda staged: ladder.write_simple_rung(**inputs, target=staged.path, **params),
    )
    lacking = built.artifact.metrics["window"]["lacking"]
    return reporting.result(
        built.artifact,
        reused=built.reused,
        checks=[
            reporting.check(
                "rung",
                not lacking,
                value=built.artifact.metrics["rung"]["name"],
                threshold="enough clicks for the full models",
                blocking=False,
                lacking=lacking,
            )
        ],
    )


class SimpleModelsInputs(TypedDict):
    """Inputs of ``ladder/simple_models``."""

    rung: Annotated[Artifact, Upstream("ladder/simple_rung", SAME)]
    workflows: Annotated[Artifact, Upstream("features/workflows", SAME)]


@dg.asset(
    key=["ladder", "simple_models"],
    kinds={"onnx"},
    partitions_def=partitions.as_of(),
    op_tags=compute.training_tags("CPU_SMALL"),
    pool="training",
    deps=dependencies(SimpleModelsInputs),
)
def simple_models(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    platform: Platform,
    training: TrainingClient,
) -> reporting.Materialized:
    """Writes the simple rung as ONNX models that the stages serve, per as-of day.

    Reads the vectors of the rung and the workflows. Writes a query tower of the latest items, and a
    ranker that leaves the order to retrieval.
    """
    inputs = open_inputs(SimpleModelsInputs, platform, context.partition_key)
    built = training.build(
        context,
        platform,
        "ladder/simple_models",
        "retrieval.simple_models",
        partition=context.partition_key,
        inputs=inputs,
        force=config.force,
    )
    return reporting.result(built.artifact, reused=built.reused)
