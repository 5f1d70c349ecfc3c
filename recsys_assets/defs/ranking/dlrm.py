"""DLRM ranking, as of a day."""

import dagster as dg
from pydantic import Field

from recsys_assets import compute, partitions, reporting
from recsys_assets.pipes import TrainingClient
from recsys_assets.resources import BuildConfig, Platform

AUC_FLOOR = 0.6


class DlrmConfig(BuildConfig):
    epochs: int = Field(default=2, ge=1, description="Passes over the masked exposures of the training days.")
    batch_size: int = Field(default=4096, ge=64, description="Rows a step; the reference's 16,384 for data of its size.")
    learning_rate: float = Field(default=1e-3, gt=0)


@dg.asset(
    key=["ranking", "dlrm"], kinds={"tensorflow", "merlin"}, partitions_def=partitions.as_of(),
    op_tags=compute.op_tags("GPU_TRAIN"), pool="training",
    deps=[["features", "datasets"], ["features", "workflows"], ["embeddings", "aligned"]],
    check_specs=reporting.check_specs(["ranking", "dlrm"], partitions.as_of(),
                                      auc=f"AUC on the validation days is above {AUC_FLOOR}."),
)
def dlrm(context: dg.AssetExecutionContext, config: DlrmConfig, platform: Platform,
         training: TrainingClient) -> dg.MaterializeResult:
    """In: data sets, aligned embeddings. Out: DLRM with both embeddings inside the interaction: checkpoint and ONNX."""
    as_of, store = context.partition_key, platform.store
    inputs = {"datasets": store.current("features/datasets", as_of), "workflows": store.current("features/workflows", as_of),
              "embeddings": store.current("embeddings/aligned", as_of)}
    built = training.build(context, platform, "ranking/dlrm", "dlrm", partition=as_of, inputs=inputs,
                           params={**config.model_dump(exclude={"force"}), "seed": platform.settings.seed}, force=config.force)
    auc = built.artifact.metrics["auc"]
    return reporting.result(built.artifact, reused=built.reused, checks=[
        reporting.check("auc", auc > AUC_FLOOR, value=auc, threshold=AUC_FLOOR)])
