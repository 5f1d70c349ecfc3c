"""Define the assets of the NVTabular workflows and of the data sets."""

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import dagster as dg

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact
from recsys_assets.hyper_parameters import WorkflowsParams
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.click_values import click_values, dismissal_params, values_metadata
from recsys_assets.orchestration.corrections import require_read
from recsys_assets.orchestration.pipes import TrainingClient
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.step_config import config_of
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs


class WorkflowsInputs(TypedDict):
    """Inputs of ``features/workflows``."""

    train: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.TRAINING)]
    items: Annotated[Artifact, Upstream("raw/items")]


class DatasetsInputs(TypedDict):
    """Inputs of ``features/datasets``."""

    workflows: Annotated[Artifact, Upstream("features/workflows", SAME)]
    items: Annotated[Artifact, Upstream("raw/items")]
    train: Annotated[Sequence[Artifact], Upstream("features/masked_train", partitions.TRAINING)]
    valid: Annotated[Sequence[Artifact], Upstream("features/interactions", partitions.VALIDATION)]
    history: Annotated[
        Sequence[Artifact], Upstream("features/interactions", partitions.WHOLE_WINDOW)
    ]


class LoggedInputs(DatasetsInputs):
    """Inputs of ``features/datasets``, and the log, which values of clicks are made from."""

    log: Annotated[Sequence[Artifact], Upstream("raw/interactions", partitions.WHOLE_WINDOW)]


@config_of(WorkflowsParams)
class WorkflowsConfig(BuildConfig):
    """Config of ``features/workflows``: the parameters of its training step."""


WORKFLOW_CHECKS = {"vocabulary": "Every item of the catalogue has an item index."}
DATASET_CHECKS = {
    "parity": "The compiled transform equals NVTabular in all columns and click histories of the "
    "validation rows, within 1e-6.",
    "labels": "Training and validation days both have a click. Warns if one holds only clicks and "
    "the other unclicked rows too, and says what the ranker then learns.",
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
) -> reporting.Materialized:
    """Fits the NVTabular workflows of all model inputs, per as-of day.

    Reads the unmasked features of the training days and the catalogue. Writes one workflow each
    for user, item, context and affinity columns, a combined one, and the compiled transforms.
    """
    from recsys_assets.lib.features import dataset_checks
    from recsys_assets.lib.features.look_back import require_look_back

    inputs, settings = (
        open_inputs(WorkflowsInputs, platform, context.partition_key),
        platform.settings,
    )
    require_look_back(inputs["train"], settings.look_back_days)
    require_read(context, platform, partitions.window_days(context.partition_key, settings))
    built = training.build(
        context,
        platform,
        "features/workflows",
        "features.fit_workflows",
        partition=context.partition_key,
        inputs=inputs,
        params={
            **config.model_dump(exclude={"force"}),
            "time_zone": partitions.time_zone(settings),
            "look_back_days": settings.look_back_days,
        },
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
    deps=dependencies(LoggedInputs),
    check_specs=reporting.check_specs(["features", "datasets"], DATASET_CHECKS, partitions.as_of()),
    output_required=False,
)
def datasets(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    platform: Platform,
    training: TrainingClient,
) -> reporting.Events:
    """Transforms the training and validation rows for the models, per as-of day.

    Reads masked rows of the training days, unmasked rows of the validation days, the click
    histories of all these days, and the workflows. Writes train/ and valid/, one row per exposure,
    and one click history per clicked row. Where RECSYS_EVENT_VALUES says so, rows have the values
    of their clicks, by which the models weigh them, and dismissed/ has the rows of dismissals. A
    window with too few clicks is skipped, with all that would be trained on it: a release of a
    simple rung serves meanwhile.
    """
    from recsys_assets.lib.features import dataset_checks
    from recsys_assets.lib.features.freshness import require_fresh
    from recsys_assets.lib.features.look_back import require_look_back
    from recsys_assets.lib.figures import tables
    from recsys_assets.lib.ladder.rungs import WindowClicks

    opened = open_inputs(LoggedInputs, platform, context.partition_key)
    inputs: dict[str, Any] = {role: one for role, one in opened.items() if role != "log"}
    require_look_back(inputs["history"], platform.settings.look_back_days)
    require_fresh(platform.store, [inputs["workflows"].manifest])
    window = WindowClicks.of(inputs["history"][: len(inputs["train"])], inputs["valid"])
    if window.lacking:
        context.log.warning(
            "the full models are not trained; lacking: " + "; ".join(window.lacking)
        )
        for name in DATASET_CHECKS:
            yield reporting.check(
                name, True, value="skipped: too few clicks", threshold="", lacking=window.lacking
            )
        return
    workflows, valid = inputs["workflows"], inputs["valid"]
    values = click_values(
        context,
        platform,
        partition=context.partition_key,
        training_days=partitions.train_days(context.partition_key, platform.settings),
        log=opened["log"],
        items=inputs["items"],
    )
    built = training.build(
        context,
        platform,
        "features/datasets",
        "features.make_datasets",
        partition=context.partition_key,
        inputs={**inputs, **values},
        params=dismissal_params(platform),
        force=config.force,
    )
    differences = dataset_checks.transform_differences(built.artifact, workflows, valid)
    rates = dataset_checks.click_rates(built.artifact)
    labels = dataset_checks.labels(rates)
    growth = tables.markdown_table(dataset_checks.vocabulary_growth(workflows, valid))
    yield reporting.result(
        built.artifact,
        reused=built.reused,
        extra={
            "vocabulary growth": dg.MetadataValue.md(growth),
            **values_metadata(values.get("values")),
        },
        checks=[
            reporting.check(
                "parity",
                all(d <= 1e-6 for d in differences.values()),
                value=differences,
                threshold=1e-6,
            ),
            reporting.check(
                "labels",
                labels.usual,
                value=rates,
                threshold="all between 0 and 1, or all 1",
                blocking=not labels.usable,
                negatives=labels.negatives,
            ),
        ],
    )
