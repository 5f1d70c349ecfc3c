"""NVTabular workflows and the data sets they make, as of a day; both run in the training environment."""

import dagster as dg

from recsys_assets import compute, partitions, reporting
from recsys_assets.hyper_parameters import WorkflowsParams
from recsys_assets.pipes import TrainingClient
from recsys_assets.resources import BuildConfig, Platform
from recsys_assets.step_config import config_of


@config_of(WorkflowsParams)
class WorkflowsConfig(BuildConfig):
    """Config of the asset: the parameters of its training step."""


WORKFLOW_CHECKS = {"vocabulary": "Every column has a vocabulary, and every catalogue item an index."}
DATASET_CHECKS = {
    "parity": "The compiled transform gives NVTabular's own values, column by column, on every validation row, "
              "and counts the same click histories.",
    "labels": "There are clicks, and unclicked rows beside them or none at all: of a log of clicks alone the ranker learns from "
              "items drawn as negatives. Part of the days without unclicked rows, or without clicks, is a fault of the log.",
}


@dg.asset(
    key=["features", "workflows"], kinds={"nvtabular"}, partitions_def=partitions.as_of(),
    op_tags=compute.training_tags("CPU_LARGE"), pool="training",
    deps=[dg.AssetDep(["features", "interactions"], partition_mapping=partitions.training_window()), ["raw", "items"]],
    check_specs=reporting.check_specs(["features", "workflows"], WORKFLOW_CHECKS, partitions.as_of()),
)
def workflows(context: dg.AssetExecutionContext, config: WorkflowsConfig, platform: Platform,
              training: TrainingClient) -> dg.MaterializeResult:
    """In: unmasked features of the 9 training days, the catalogue. Out: user, item, context and combined workflows."""
    from recsys_assets.lib import feature_tables

    as_of, store = context.partition_key, platform.store
    train, items = store.require("features/interactions", partitions.train_days(as_of)), store.current("raw/items")
    built = training.build(context, platform, "features/workflows", "fit_workflows", partition=as_of,
                           inputs={"train": train, "items": items},
                           params=config.model_dump(exclude={"force"}), force=config.force)
    missing = feature_tables.items_without_index(built.artifact, items)
    return reporting.result(built.artifact, reused=built.reused, checks=[
        reporting.check("vocabulary", not missing, value=missing, threshold="no item without an index")])


@dg.asset(
    key=["features", "datasets"], kinds={"nvtabular", "parquet"}, partitions_def=partitions.as_of(),
    op_tags=compute.training_tags("CPU_LARGE"), pool="training",
    deps=[["features", "workflows"], ["raw", "items"],
          dg.AssetDep(["features", "masked_train"], partition_mapping=partitions.training_window()),
          dg.AssetDep(["features", "interactions"], partition_mapping=partitions.whole_window())],
    check_specs=reporting.check_specs(["features", "datasets"], DATASET_CHECKS, partitions.as_of()),
)
def datasets(context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform,
             training: TrainingClient) -> dg.MaterializeResult:
    """In: masked rows of 9 days, unmasked rows of the 3 after them, the click histories of all 12, the workflows.

    Out: train/ and valid/ for the models, and the histories of their clicked rows.
    """
    from recsys_assets.lib import feature_tables

    as_of, store = context.partition_key, platform.store
    workflows = store.current("features/workflows", as_of)
    valid = store.require("features/interactions", partitions.validation_days(as_of))
    built = training.build(
        context, platform, "features/datasets", "make_datasets", partition=as_of, force=config.force,
        inputs={"workflows": workflows, "items": store.current("raw/items"),
                "train": store.require("features/masked_train", partitions.train_days(as_of)), "valid": valid,
                "history": [*store.require("features/interactions", partitions.train_days(as_of)), *valid]})
    differences = feature_tables.transform_differences(built.artifact, workflows, valid)
    rates = feature_tables.click_rates(built.artifact)
    sound, negatives = feature_tables.labels(rates)
    growth = feature_tables.markdown_table(feature_tables.vocabulary_growth(workflows, valid))
    return reporting.result(built.artifact, reused=built.reused, extra={"vocabulary growth": dg.MetadataValue.md(growth)}, checks=[
        reporting.check("parity", all(d <= 1e-6 for d in differences.values()), value=differences, threshold=1e-6),
        reporting.check("labels", sound, value=rates, threshold="all between 0 and 1, or all 1", negatives=negatives)])
