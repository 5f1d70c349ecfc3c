"""Train DLRM on all exposures, or on clicks and sampled negatives where the log holds clicks alone,
and export it.

In: ``datasets``, ``workflows`` (transforms.json), ``embeddings`` (embedding_table.npy) and, for a
log without unclicked exposures, ``item_inputs`` (item_tower_inputs.npz of the whole catalogue).
Out: checkpoint/, config.json, dlrm.onnx, parity.npz.
"""

from __future__ import annotations

from recsys_assets.hyper_parameters import DlrmParams
from recsys_assets.release_files import EMBEDDING_TABLE, ITEM_TOWER_INPUTS, TRANSFORMS
from recsys_assets.training.step import Step, run


def train_dlrm(step: Step[DlrmParams]) -> None:
    step.start_tensorflow()
    import numpy as np

    from recsys_assets import columns as c
    from recsys_assets.training import batches, loaders, metrics, models, trainer
    from recsys_assets.training.ranking import learning as ranking_training
    from recsys_assets.training.ranking import ranker

    params, datasets = step.params, step.input("datasets")
    schema = loaders.read_schema(datasets)
    loaders.check_cardinality(step.file("workflows", TRANSFORMS), schema)
    table = loaders.read_embeddings(step.file("embeddings", EMBEDDING_TABLE), schema)
    rows, valid = (
        loaders.read_rows(datasets / split, timestamp=True) for split in ("train", "valid")
    )
    clicks_only = bool(rows[c.CLICK].all())
    if clicks_only:
        valid = valid[valid[c.CLICK] == 1]
        rows, valid = (
            loaders.with_history(
                clicks, np.load(step.file("datasets", f"{split}_history.npy"), allow_pickle=False)
            )
            for split, clicks in (("train", rows), ("valid", valid))
        )
    rows, held_out = batches.split(rows, params.held_out, step.seed)
    offsets = held_offsets = valid_offsets = None
    if clicks_only:
        catalogue = dict(np.load(step.file("item_inputs", ITEM_TOWER_INPUTS), allow_pickle=False))
        shares = ranking_training.draw_shares(
            models.item_counts(rows[c.ITEM_ID].to_numpy(), schema)[catalogue["index"]]
        )

        def sampled(
            clicks: loaders.pd.DataFrame, seed: int
        ) -> tuple[loaders.pd.DataFrame, np.ndarray]:
            history = loaders.history_of(clicks, loaders.cardinalities(schema)[c.CATEGORY_L1])
            plain = clicks.drop(
                columns=[name for name in clicks.columns if name.startswith(loaders.HISTORY)]
            )
            return ranking_training.with_negatives(
                plain, catalogue, shares, params.negatives_per_positive, seed, history
            )

        step.log(
            f"no unclicked exposure in the log: {params.negatives_per_positive} items are drawn "
            "for each click"
        )
        rows, offsets = sampled(rows, step.seed)
        valid, valid_offsets = sampled(valid, step.seed + 1)
        if len(held_out):
            held_out, held_offsets = sampled(held_out, step.seed + 2)
    size = loaders.batch_size(len(rows), params.batch_size)
    step.log(
        f"{len(rows)} rows, {rows[c.CLICK].mean():.1%} clicked, {len(held_out)} held out, batches "
        f"of {size}"
    )
    shape = models.DlrmShape(
        params.use_user_id, dropout=params.dropout, embedding_l2=params.embedding_l2
    )
    learning = ranking_training.RankerLearning.of(
        batches.with_vectors(schema), shape, rows, table, offsets, params.item_id_dropout, step.seed
    )
    trained = learning.ranker
    judge = (
        ranking_training.judge(trained, held_out, table, held_offsets, step.seed)
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
        len(rows), plan, step, judge, higher_is_better=False, figure="log loss"
    )

    never_shown = (
        ranking_training.forget_untrained_items(trained, rows[c.ITEM_ID].to_numpy())
        if params.item_id_dropout
        else 0
    )

    labels = valid[c.CLICK].to_numpy()
    scores = ranking_training.sampled_probability(trained.scores(valid, table), valid_offsets)
    step.report(
        auc=metrics.auc(labels, scores),
        log_loss=metrics.log_loss(labels, scores),
        rows=len(rows),
        validation_rows=len(valid),
        batch_size=size,
        held_out_rows=len(held_out),
        epochs=outcome.epochs,
        best_epoch=outcome.best_epoch,
        held_out_log_loss=outcome.figures,
        rows_per_second=outcome.rows_per_second,
        items_never_shown=never_shown,
        sampled_negatives=int((rows[c.CLICK] == 0).sum()) if clicks_only else 0,
    )
    step.log(f"AUC {step.metrics['auc']:.4f}, log loss {step.metrics['log_loss']:.4f}")
    ranker.write(step, trained, schema, valid, table, size)


if __name__ == "__main__":
    run(train_dlrm, DlrmParams)
