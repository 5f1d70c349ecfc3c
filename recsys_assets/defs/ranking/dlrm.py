"""Define the asset that trains the ranker (DLRM)."""

import dagster as dg

from recsys_assets import partitions
from recsys_assets.defs.retrieval.model_inputs import ModelInputs
from recsys_assets.hyper_parameters import DlrmParams
from recsys_assets.orchestration import compute, reporting
from recsys_assets.orchestration.pipes import TrainingClient
from recsys_assets.orchestration.resources import BuildConfig, Platform
from recsys_assets.orchestration.step_config import config_of
from recsys_assets.orchestration.upstream import dependencies, open_inputs

KEY = ["ranking", "dlrm"]
AUC = {
    "auc": "AUC on the validation days is above what chance gives at that size. Warns otherwise."
}


@config_of(DlrmParams)
class DlrmConfig(BuildConfig):
    """Config of ``ranking/dlrm``: the parameters of its training step."""


@dg.asset(
    key=KEY,
    kinds={"tensorflow", "merlin"},
    partitions_def=partitions.as_of(),
    op_tags=compute.op_tags("GPU_TRAIN"),
    pool="training",
    deps=dependencies(ModelInputs),
    check_specs=reporting.check_specs(KEY, AUC, partitions.as_of(), blocking=False),
)
def dlrm(
    context: dg.AssetExecutionContext,
    config: DlrmConfig,
    platform: Platform,
    training: TrainingClient,
) -> reporting.Materialized:
    """Trains the ranker (DLRM), per as-of day.

    Reads the data sets, the workflows and the aligned embeddings, which enter DLRM's feature
    interaction. Writes the model as checkpoint and ONNX.
    """
    from recsys_assets.lib.gates.limits import Limits
    from recsys_assets.lib.gates.statistical import above_chance

    inputs = open_inputs(ModelInputs, platform, context.partition_key)
    built = training.build(
        context,
        platform,
        "ranking/dlrm",
        "ranking.dlrm",
        partition=context.partition_key,
        inputs=inputs,
        params={**config.model_dump(exclude={"force"}), "seed": platform.settings.seed},
        force=config.force,
    )
    metrics = built.artifact.metrics
    judged = above_chance(
        metrics["auc"], metrics["validation_clicks"], metrics["validation_rows"], Limits()
    )
    return reporting.result(
        built.artifact, reused=built.reused, checks=[reporting.of_verdict("auc", judged)]
    )
