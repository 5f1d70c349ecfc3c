"""Define the assets that train the champion of the ads ranker on, on labelled predictions."""

from time import time
from typing import Annotated, TypedDict

import dagster as dg
from pydantic import Field

from recsys_assets import ads_partitions
from recsys_assets.ads_parameters import TuneDcnParams
from recsys_assets.artifacts import Artifact
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.pipes import TrainingClient
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.step_config import config_of
from recsys_assets.orchestration.upstream import SAME, Upstream, dependencies, open_inputs

DAYS = ads_partitions.ads_days()
TUNED = {
    "auc": "AUC on the held-out predictions is above what chance gives at that size. Warns "
    "otherwise.",
    "onnx": "onnxruntime and TensorFlow differ by at most 1e-6 on the sample of the training.",
    "better": "AUC on the held-out predictions is not surely below that of the release that it "
    "started from. Warns otherwise.",
}


class TunedDcnInputs(TypedDict):
    """Inputs of ``ads_ctr/tuned_dcn``, beside the network that the rows name."""

    rows: Annotated[Artifact, Upstream("ads_ctr/feedback_rows", SAME)]


class FeedbackRowsConfig(BuildConfig):
    """Config of ``ads_ctr/feedback_rows``."""

    since: float | None = Field(
        default=None,
        description="Unix seconds; only predictions that were settled later are learnt. The sensor "
        "gives the begin of the alarm's window, because older predictions teach what no longer "
        "holds. Empty: all that the champion has not learnt.",
    )


@config_of(TuneDcnParams)
class TuneDcnConfig(BuildConfig):
    """Config of ``ads_ctr/tuned_dcn``: the parameters of its training step."""


@dg.asset(
    key=["ads_ctr", "feedback_rows"],
    kinds={"polars"},
    partitions_def=DAYS,
    op_tags=compute.step_tags("CPU_MEDIUM"),
    pool="cpu",
)
def feedback_rows(
    context: dg.AssetExecutionContext, config: FeedbackRowsConfig, platform: Platform
) -> reporting.Materialized:
    """Selects the labelled predictions that the champion of the ads ranker has not learnt.

    Reads predictions and labels in the landing zone up to the as-of day, and the champion, whose
    compiled workflow transforms them. Writes arrays in the order of settling: the first 70 % train,
    the others are held out. An ad without a label after RECSYS_ADS_LABEL_HOURS was not clicked.
    """
    from recsys_assets.lib.ads_ctr import incremental

    settings, store, day = platform.settings, platform.store, context.partition_key
    try:
        begin = incremental.start(store, platform.home_settings)
        rows = incremental.unlearnt(settings, begin, day, time(), config.since)
        incremental.require_enough(rows, settings.ads_tune_rows)
    except incremental.IncrementalError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    built = platform.build(
        context,
        "ads_ctr/feedback_rows",
        partition=day,
        inputs={
            "base": begin.base.artifact,
            "dcn": begin.dcn,
            "feedback": incremental.rows_digest(rows),
        },
        force=config.force,
        write=lambda staged: incremental.write_feedback_rows(
            rows, begin.base.artifact, begin.base.number, staged.path
        ),
    )
    return reporting.result(built.artifact, reused=built.reused)


@dg.asset(
    key=["ads_ctr", "tuned_dcn"],
    kinds={"tensorflow", "merlin"},
    partitions_def=DAYS,
    op_tags=compute.op_tags("GPU_TRAIN"),
    pool="training",
    deps=dependencies(TunedDcnInputs),
    check_specs=reporting.check_specs(["ads_ctr", "tuned_dcn"], TUNED, DAYS, blocking=False),
)
def tuned_dcn(
    context: dg.AssetExecutionContext,
    config: TuneDcnConfig,
    platform: Platform,
    training: TrainingClient,
) -> reporting.Materialized:
    """Trains the champion's network on, on the labelled predictions that it has not learnt.

    Reads the rows, and the network that they were made for. Writes the network as checkpoint and
    ONNX, and its scores of the held-out predictions; metrics with "_before" are the champion's.
    """
    import numpy as np

    from recsys_assets.lib.ads_ctr import ads_release, incremental
    from recsys_assets.lib.gates.limits import Limits
    from recsys_assets.lib.gates.statistical import above_chance
    from recsys_assets.lib.release.releases import read_release
    from recsys_assets.release_files import VALID_SCORES

    rows = open_inputs(TunedDcnInputs, platform, context.partition_key)["rows"]
    base = incremental.base_of(platform.store, rows)
    built = training.build(
        context,
        platform,
        "ads_ctr/tuned_dcn",
        "ads_ctr.tune_dcn",
        partition=context.partition_key,
        inputs={"base": base["dcn"], "rows": rows},
        params=config.model_dump(exclude={"force"}),
        force=config.force,
    )
    metrics, limits = built.artifact.metrics, Limits()
    judged = above_chance(
        metrics["auc"], metrics["validation_clicks"], metrics["validation_rows"], limits
    )
    above = ads_release.above_champion(
        read_release(base["base"]),
        incremental.held_out_rows(rows),
        np.load(built.artifact.path(VALID_SCORES), allow_pickle=False),
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
            reporting.check(
                "better",
                above is None or above["high"] >= 0,
                value="not judged" if above is None else above["value"],
                threshold="surely below 0",
                blocking=False,
                interval=above,
            ),
        ],
    )
