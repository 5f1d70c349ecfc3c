"""Define the assets that fit, train and judge the ads ranker."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import dagster as dg

from recsys_assets import ads_partitions
from recsys_assets.ads_parameters import AdsWorkflowParams, DcnParams
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.pipes import TrainingClient
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.step_config import config_of
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

LOGS, DAYS = "ads_ctr/logs", ads_partitions.ads_days()


class AdsWorkflowInputs(TypedDict):
    """Inputs of ``ads_ctr/workflow``."""

    train: Annotated[Sequence[Artifact], Upstream(LOGS, ads_partitions.ADS_TRAINING)]


class AdsDatasetsInputs(TypedDict):
    """Inputs of ``ads_ctr/datasets``."""

    workflow: Annotated[Artifact, Upstream("ads_ctr/workflow", SAME)]
    train: Annotated[Sequence[Artifact], Upstream(LOGS, ads_partitions.ADS_TRAINING)]
    valid: Annotated[Sequence[Artifact], Upstream(LOGS, SAME)]


class DcnInputs(TypedDict):
    """Inputs of ``ads_ctr/dcn``."""

    datasets: Annotated[Artifact, Upstream("ads_ctr/datasets", SAME)]
    workflow: Annotated[Artifact, Upstream("ads_ctr/workflow", SAME)]


class AdsEvaluationInputs(DcnInputs):
    """Inputs of ``ads_ctr/evaluation``."""

    dcn: Annotated[Artifact, Upstream("ads_ctr/dcn", SAME)]


@config_of(AdsWorkflowParams)
class AdsWorkflowConfig(BuildConfig):
    """Config of ``ads_ctr/workflow``: the parameters of its training step."""


@config_of(DcnParams)
class DcnConfig(BuildConfig):
    """Config of ``ads_ctr/dcn``: the parameters of its training step."""


PARITY = {"parity": "The compiled transforms equal NVTabular in every bit of every validation row."}
TRAINED = {
    "auc": "AUC on the as-of day is above what chance gives at that size. Warns otherwise.",
    "onnx": "onnxruntime and TensorFlow differ by at most 1e-6 on the sample of the training.",
}
JUDGED = {
    "baselines": "The network is surely worse than no baseline: logistic regression, a "
    "factorization machine, boosted trees. Warns otherwise.",
    "calibration": "The expected calibration error is at most a tenth of the click rate. Warns "
    "otherwise.",
}


@dg.asset(
    key=["ads_ctr", "workflow"],
    kinds={"nvtabular"},
    partitions_def=DAYS,
    op_tags=compute.training_tags("CPU_LARGE"),
    pool="training",
    deps=dependencies(AdsWorkflowInputs),
)
def workflow(
    context: dg.AssetExecutionContext,
    config: AdsWorkflowConfig,
    platform: Platform,
    training: TrainingClient,
) -> reporting.Materialized:
    """Fits the NVTabular workflow of the ads ranker, per as-of day.

    Reads the ads logs of the RECSYS_ADS_TRAIN_DAYS before the as-of day. Writes the workflow and
    its compiled form.
    """
    inputs = open_inputs(AdsWorkflowInputs, platform, context.partition_key)
    built = training.build(
        context,
        platform,
        "ads_ctr/workflow",
        "ads_ctr.fit_workflow",
        partition=context.partition_key,
        inputs=inputs,
        params=config.model_dump(exclude={"force"}),
        force=config.force,
    )
    return reporting.result(built.artifact, reused=built.reused)


@dg.asset(
    key=["ads_ctr", "datasets"],
    kinds={"nvtabular"},
    partitions_def=DAYS,
    op_tags=compute.training_tags("CPU_LARGE"),
    pool="training",
    deps=dependencies(AdsDatasetsInputs),
    check_specs=reporting.check_specs(["ads_ctr", "datasets"], PARITY, DAYS),
)
def datasets(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    platform: Platform,
    training: TrainingClient,
) -> reporting.Materialized:
    """Transforms the training and validation rows of the ads ranker, per as-of day.

    Reads the ads logs of the training days and of the as-of day, which validates, and the workflow.
    Writes indices, numbers and labels as arrays.
    """
    from recsys_assets.lib.ads_ctr import ads_datasets

    inputs = open_inputs(AdsDatasetsInputs, platform, context.partition_key)
    built = training.build(
        context,
        platform,
        "ads_ctr/datasets",
        "ads_ctr.make_datasets",
        partition=context.partition_key,
        inputs=inputs,
        force=config.force,
    )
    differences = ads_datasets.parity_differences(
        built.artifact, inputs["workflow"], inputs["valid"]
    )
    return reporting.result(
        built.artifact,
        reused=built.reused,
        checks=[
            reporting.check(
                "parity",
                not differences,
                value=sum(differences.values()),
                threshold=0,
                columns=differences,
            )
        ],
    )


@dg.asset(
    key=["ads_ctr", "dcn"],
    kinds={"tensorflow", "merlin"},
    partitions_def=DAYS,
    op_tags=compute.op_tags("GPU_TRAIN"),
    pool="training",
    deps=dependencies(DcnInputs),
    check_specs=reporting.check_specs(["ads_ctr", "dcn"], TRAINED, DAYS, blocking=False),
)
def dcn(
    context: dg.AssetExecutionContext,
    config: DcnConfig,
    platform: Platform,
    training: TrainingClient,
) -> reporting.Materialized:
    """Trains the ads ranker, a deep and cross network, per as-of day.

    Reads the data sets. Writes the network as checkpoint and ONNX, and its scores of the validation
    rows.
    """
    from recsys_assets.lib.gates.limits import Limits
    from recsys_assets.lib.gates.statistical import above_chance

    built = training.build(
        context,
        platform,
        "ads_ctr/dcn",
        "ads_ctr.train_dcn",
        partition=context.partition_key,
        inputs=open_inputs(DcnInputs, platform, context.partition_key),
        params=config.model_dump(exclude={"force"}),
        force=config.force,
    )
    metrics, limits = built.artifact.metrics, Limits()
    judged = above_chance(
        metrics["auc"], metrics["validation_clicks"], metrics["validation_rows"], limits
    )
    difference = metrics["onnx_difference"]
    return reporting.result(
        built.artifact,
        reused=built.reused,
        checks=[
            reporting.of_verdict("auc", judged),
            reporting.check(
                "onnx",
                difference <= limits.parity,
                value=difference,
                threshold=limits.parity,
                blocking=False,
            ),
        ],
    )


@dg.asset(
    key=["ads_ctr", "evaluation"],
    kinds={"scikitlearn"},
    partitions_def=DAYS,
    op_tags=compute.step_tags("CPU_LARGE"),
    pool="cpu",
    deps=dependencies(AdsEvaluationInputs),
    check_specs=reporting.check_specs(["ads_ctr", "evaluation"], JUDGED, DAYS, blocking=False),
)
def evaluation(
    context: dg.AssetExecutionContext, config: BuildConfig, platform: Platform
) -> reporting.Materialized:
    """Judges the ads ranker beside tuned baselines on the as-of day.

    Reads the data sets and the network's scores. Fits logistic regression, a factorization machine
    and boosted trees on the same rows. Writes AUC, log loss and calibration with intervals, by part
    of the day and by segment; simulated ads have the oracle beside them.
    """
    from recsys_assets.files import sha256_json
    from recsys_assets.lib.ads_ctr import ads_evaluation, ads_landing

    inputs = open_inputs(AdsEvaluationInputs, platform, context.partition_key)
    rows = inputs["dcn"].metrics.get("validation_rows", 0)
    truth = ads_landing.read_truth(platform.settings.landing, context.partition_key, rows)
    built = platform.build(
        context,
        "ads_ctr/evaluation",
        partition=context.partition_key,
        inputs={**inputs, **({} if truth is None else {"truth": sha256_json(truth.tolist())})},
        force=config.force,
        write=lambda staged: ads_evaluation.judge(
            **inputs, truth=truth, target=staged.path, log=context.log.info
        ),
    )
    metrics = built.artifact.metrics
    worse = [name for name, one in metrics["above"].items() if one["high"] < 0]
    own = metrics["systems"]["dcn"]
    allowed = own["click_rate"] / 10
    return reporting.result(
        built.artifact,
        reused=built.reused,
        checks=[
            reporting.check(
                "baselines",
                not worse,
                value={name: one["value"] for name, one in metrics["above"].items()},
                threshold=0,
                blocking=False,
                worse_than=worse,
            ),
            reporting.check(
                "calibration",
                own["calibration_error"] <= allowed,
                value=own["calibration_error"],
                threshold=allowed,
                blocking=False,
            ),
        ],
    )
