"""NVTabular workflows and the data sets they make, as of a day; both run in the training
environment.
"""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.hyper_parameters import WorkflowsParams
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.pipes import TrainingClient
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.step_config import config_of
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class WorkflowsInputs(TypedDict):
    train: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.TRAINING)]
    items: Annotated[Artifact, Upstream("raw/items")]


class DatasetsInputs(TypedDict):
    workflows: Annotated[Artifact, Upstream("features/workflows", SAME)]
    items: Annotated[Artifact, Upstream("raw/items")]
    train: Annotated[Sequence[Artifact], Upstream("features/masked_train", partitions.TRAINING)]
    valid: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.VALIDATION)]
    history: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.WHOLE_WINDOW)
    ]


@config_of(WorkflowsParams)
class WorkflowsConfig(BuildConfig):
    """Config of the asset: the parameters of its training step."""


WORKFLOW_CHECKS = {
    "vocabulary": "Every column has a vocabulary, and every catalogue item an index."
}
DATASET_CHECKS = {
    "parity": "The compiled transform gives NVTabular's own values, column by column, on every "
    "validation row, "
    "and counts the same click histories.",
    "labels": "There are clicks, and unclicked rows beside them or none at all: of a log of clicks "
    "alone the ranker learns from "
    "items drawn as negatives. Part of the days without unclicked rows, or without clicks, is a "
    "fault of the log.",
}


@dg.asset(
    key=["features", "workflows"],
    kinds={"nvtabular"},
    partitions_def=partitions.as_of(),
    op_tags=compute.training_tags("CPU_LARGE"),
    pool="training",
    deps=dependencies(WorkflowsInputs),
    check_specs=reporting.check_specs(
        ["features", "workflows"], WORKFLOW_CHECKS, partitions.as_of()
    ),
)
def workflows(
    context: dg.AssetExecutionContext,
    config: WorkflowsConfig,
    platform: Platform,
    training: TrainingClient,
) -> dg.MaterializeResult:
    """In: unmasked features of the 9 training days, the catalogue. Out: user, item, context and
    combined workflows.
    """
    from recsys_assets.lib.features import dataset_checks

    inputs = open_inputs(WorkflowsInputs, platform, context.partition_key)
    built = training.build(
        context,
        platform,
        "features/workflows",
        "features.fit_workflows",
        partition=context.partition_key,
        inputs=inputs,
        params=config.model_dump(exclude={"force"}),
        force=config.force,
    )
    missing = dataset_checks.items_without_index(built.artifact, inputs["items"])
    return reporting.result(
        built.artifact,
        reused=built.reused,
        checks=[
            reporting.check(
                "vocabulary", not missing, value=missing, threshold="no item without an index"
            )
        ],
    )


@dg.asset(
    key=["features", "datasets"],
    kinds={"nvtabular", "parquet"},
    partitions_def=partitions.as_of(),
    op_tags=compute.training_tags("CPU_LARGE"),
    pool="training",
    deps=dependencies(DatasetsInputs),
    check_specs=reporting.check_specs(["features", "datasets"], DATASET_CHECKS, partitions.as_of()),
)
def datasets(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    platform: Platform,
    training: TrainingClient,
) -> dg.MaterializeResult:
    """In: masked rows of 9 days, unmasked rows of the 3 after them, the click histories of all 12,
    the workflows.

    Out: train/ and valid/ for the models, and the histories of their clicked rows.
    """
    from recsys_assets.lib.features import dataset_checks
    from recsys_assets.lib.figures import tables

    inputs = open_inputs(DatasetsInputs, platform, context.partition_key)
    workflows, valid = inputs["workflows"], inputs["valid"]
    built = training.build(
        context,
        platform,
        "features/datasets",
        "features.make_datasets",
        partition=context.partition_key,
        inputs=inputs,
        force=config.force,
    )
    differences = dataset_checks.transform_differences(built.artifact, workflows, valid)
    rates = dataset_checks.click_rates(built.artifact)
    sound, negatives = dataset_checks.labels(rates)
    growth = tables.markdown_table(dataset_checks.vocabulary_growth(workflows, valid))
    return reporting.result(
        built.artifact,
        reused=built.reused,
        extra={"vocabulary growth": dg.MetadataValue.md(growth)},
        checks=[
            reporting.check(
                "parity",
                all(d <= 1e-6 for d in differences.values()),
                value=differences,
                threshold=1e-6,
            ),
            reporting.check(
                "labels",
                sound,
                value=rates,
                threshold="all between 0 and 1, or all 1",
                negatives=negatives,
            ),
        ],
    )
