"""DLRM ranking, as of a day."""

import dagster as dg
from pydantic import Field

from recsys_assets import compute, partitions, reporting
from recsys_assets.defs.retrieval.model_inputs import ModelInputs
from recsys_assets.pipes import TrainingClient
from recsys_assets.resources import BuildConfig, Platform
from recsys_assets.upstream import dependencies, open_inputs

AUC_FLOOR = 0.6
AUC = {"auc": f"AUC on the validation days is above {AUC_FLOOR}."}


class DlrmConfig(BuildConfig):
    epochs: int = Field(default=4, ge=1, description="Passes over the masked exposures of the training days, at most.")
    batch_size: int = Field(default=4096, ge=64, description="Rows a step; the reference's 16,384 for data of its size.")
    learning_rate: float = Field(default=1e-3, gt=0, description="Of Adam, at the first epoch.")
    learning_rate_decay: float = Field(default=0.1, gt=0, le=1, description="Share of itself to which the learning rate falls, as a "
                                       "cosine over all epochs; 1: constant.")
    negatives_per_positive: int = Field(default=5, ge=1, description="Items drawn for each click where the log holds clicks alone, by "
                                        "popularity^0.75, never one that the visitor clicked that day.")
    item_id_dropout: float = Field(default=0.1, ge=0, lt=1, description="Share of the rows shown without their item's id, so that an "
                                   "item that was never shown is scored by its content.")
    use_user_id: bool = Field(default=False, description="A table of user ids: it learns single visitors by heart.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Share of the top MLP's hidden units left out in training.")
    embedding_l2: float = Field(default=1e-4, ge=0, description="Weight of the squared norm of a row's embeddings in the loss.")
    held_out: float = Field(default=0.05, ge=0, lt=0.5, description="Share of the training rows by whose log loss epochs are judged; "
                            "0: train on all, keep the last epoch.")
    patience: int = Field(default=1, ge=0, description="Epochs without a better log loss after which training ends; 0: never.")


@dg.asset(
    key=["ranking", "dlrm"], kinds={"tensorflow", "merlin"}, partitions_def=partitions.as_of(),
    op_tags=compute.op_tags("GPU_TRAIN"), pool="training",
    deps=dependencies(ModelInputs),
    check_specs=reporting.check_specs(["ranking", "dlrm"], AUC, partitions.as_of()),
)
def dlrm(context: dg.AssetExecutionContext, config: DlrmConfig, platform: Platform,
         training: TrainingClient) -> dg.MaterializeResult:
    """In: data sets, aligned embeddings. Out: DLRM with both embeddings inside the interaction: checkpoint and ONNX."""
    inputs = open_inputs(ModelInputs, platform, context.partition_key)
    built = training.build(context, platform, "ranking/dlrm", "dlrm", partition=context.partition_key, inputs=inputs,
                           params={**config.model_dump(exclude={"force"}), "seed": platform.settings.seed}, force=config.force)
    auc = built.artifact.metrics["auc"]
    return reporting.result(built.artifact, reused=built.reused, checks=[
        reporting.check("auc", auc > AUC_FLOOR, value=auc, threshold=AUC_FLOOR)])
