"""Fine-tune all parameters of the champion's DLRM on a new day.

In: ``champion`` (a DLRM artifact), ``rows`` (train.parquet, holdout.parquet: transformed rows and
click), ``datasets`` (of the champion's generation), ``embeddings`` (embedding_table.npy of that
generation).
Out: the files of a DLRM artifact, so that the next day can start from it.
"""

from __future__ import annotations

from recsys_assets.hyper_parameters import FineTuneDlrmParams
from recsys_assets.release_files import EMBEDDING_TABLE
from recsys_assets.training import versions
from recsys_assets.training.step import Step, run


def fine_tune_dlrm(step: Step[FineTuneDlrmParams]) -> None:
    """Fine-tune the champion's DLRM, export it and report it before and after."""
    versions.compare(step.input("champion"), versions.CHECKPOINT, step.log)
    step.start_tensorflow()
    from recsys_assets import columns as c
    from recsys_assets.training import batches, loaders, metrics, models, trainer
    from recsys_assets.training.ranking import learning as ranking_training
    from recsys_assets.training.ranking import ranker

    params, champion = step.params, step.input("champion")
    schema = loaders.read_schema(step.input("datasets"))
    loaders.check_cardinality(step.file("champion", "config.json"), schema)
    table = loaders.read_embeddings(step.file("embeddings", EMBEDDING_TABLE), schema)
    rows = loaders.read_rows(step.file("rows", "train.parquet"))
    holdout = loaders.read_rows(step.file("rows", "holdout.parquet"))
    size = loaders.batch_size(len(rows), params.batch_size)
    step.log(f"{len(rows)} rows, batches of {size}")
    learning = ranking_training.RankerLearning.of(
        batches.with_vectors(schema), ranker.read_shape(champion), rows, table
    )
    tuned = learning.ranker
    tuned.build()
    models.restore_checkpoint(champion, tuned.parts)

    labels, before = holdout[c.CLICK].to_numpy(), tuned.scores(holdout, table)
    plan = trainer.TrainingPlan(params.epochs, size, params.learning_rate, step.seed)
    trainer.Trainer(learning.loss, learning.variables, params.learning_rate).fit(
        len(rows), plan, step
    )
    after = tuned.scores(holdout, table)
    step.report(
        auc_before=metrics.auc(labels, before),
        auc_after=metrics.auc(labels, after),
        log_loss_before=metrics.log_loss(labels, before),
        log_loss_after=metrics.log_loss(labels, after),
        rows=len(rows),
        holdout_rows=len(holdout),
        batch_size=size,
    )
    step.log(
        f"holdout AUC {step.metrics['auc_before']:.4f} before, {step.metrics['auc_after']:.4f} "
        "after"
    )
    ranker.write(step, tuned, schema, holdout, table, size)


if __name__ == "__main__":
    run(fine_tune_dlrm, FineTuneDlrmParams)
