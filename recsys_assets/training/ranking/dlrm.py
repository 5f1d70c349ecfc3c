"""Train DLRM on all exposures and export it.

A log that holds only clicks is completed with sampled negatives. Dismissals are further negatives,
where the data set has them.

In: ``datasets``, ``workflows`` (transforms.json), ``embeddings`` (embedding_table.npy) and, for a
log without unclicked exposures, ``item_inputs`` (item_tower_inputs.npz of the whole catalogue).
Out: checkpoint/, config.json, dlrm.onnx, parity.npz.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_assets.hyper_parameters import DlrmParams
from recsys_assets.release_files import EMBEDDING_TABLE, TRANSFORMS
from recsys_assets.training.step import Step, run

if TYPE_CHECKING:
    import numpy as np
    from merlin.schema import Schema

    from recsys_assets.training.ranking.ranker import Ranker
    from recsys_assets.training.ranking.rows import RankerData
    from recsys_assets.training.trainer import TrainingOutcome


def train_dlrm(step: Step[DlrmParams]) -> None:
    """Train DLRM, export it and report its figures on the validation rows."""
    step.start_tensorflow()
    from recsys_assets import columns as c
    from recsys_assets.training import loaders, metrics
    from recsys_assets.training.ranking import learning as ranking_training
    from recsys_assets.training.ranking import ranker
    from recsys_assets.training.ranking import rows as ranker_rows

    params = step.params
    schema = loaders.read_schema(step.input("datasets"))
    loaders.check_cardinality(step.file("workflows", TRANSFORMS), schema)
    table = loaders.read_embeddings(step.file("embeddings", EMBEDDING_TABLE), schema)
    data = ranker_rows.read(step, schema)
    rows, valid = data.train.rows, data.valid
    size = loaders.batch_size(len(rows), params.batch_size)
    step.log(
        f"{len(rows)} rows, {rows[c.CLICK].mean():.1%} clicked, {len(data.held_out)} held out, "
        f"batches of {size}"
    )
    trained, outcome = _train(step, schema, table, data, size)
    never_shown = (
        ranking_training.forget_untrained_items(trained, rows[c.ITEM_ID].to_numpy())
        if params.item_id_dropout
        else 0
    )
    labels = valid.rows[c.CLICK].to_numpy()
    scores = ranking_training.sampled_probability(trained.scores(valid.rows, table), valid.offsets)
    clicked = int(labels.sum())
    # rows of one class cannot tell a good ranker from a bad one
    auc = metrics.auc(labels, scores) if 0 < clicked < len(labels) else None
    step.report(
        auc=auc,
        log_loss=metrics.log_loss(labels, scores) if len(labels) else None,
        rows=len(rows),
        validation_rows=len(valid),
        validation_clicks=clicked,
        batch_size=size,
        held_out_rows=len(data.held_out),
        epochs=outcome.epochs,
        best_epoch=outcome.best_epoch,
        held_out_log_loss=outcome.figures,
        rows_per_second=outcome.rows_per_second,
        items_never_shown=never_shown,
        sampled_negatives=int((rows[c.CLICK] == 0).sum()) - data.dismissed
        if data.clicks_only
        else 0,
    )
    if data.dismissed:
        step.report(dismissed_rows=data.dismissed)
    if auc is not None:
        step.log(f"AUC {auc:.4f}, log loss {step.metrics['log_loss']:.4f}")
    ranker.write(step, trained, schema, valid.rows, table, size)


def _train(
    step: Step[DlrmParams], schema: Schema, table: np.ndarray, data: RankerData, size: int
) -> tuple[Ranker, TrainingOutcome]:
    """Train DLRM with batches of ``size`` rows."""
    from recsys_assets.training import batches, models, trainer
    from recsys_assets.training.ranking import learning as ranking_training

    params, held_out = step.params, data.held_out
    shape = models.DlrmShape(
        params.use_user_id, dropout=params.dropout, embedding_l2=params.embedding_l2
    )
    learning = ranking_training.RankerLearning.of(
        batches.with_vectors(schema),
        shape,
        data.train.rows,
        table,
        data.train.offsets,
        params.item_id_dropout,
        step.seed,
    )
    judge = (
        ranking_training.judge(learning.ranker, held_out.rows, table, held_out.offsets, step.seed)
        if len(held_out)
        else None
    )
    plan = trainer.TrainingPlan(
        params.epochs,
        size,
        params.learning_rate,
        step.seed,
        params.patience if judge else 0,
        params.learning_rate_decay,
    )
    outcome = trainer.Trainer(learning.loss, learning.variables, params.learning_rate).fit(
        len(data.train), plan, step, judge, higher_is_better=False, figure="log loss"
    )
    return learning.ranker, outcome


if __name__ == "__main__":
    run(train_dlrm, DlrmParams)
