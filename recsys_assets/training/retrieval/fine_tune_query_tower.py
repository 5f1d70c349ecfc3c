"""Fine-tune the champion's query tower on a new day.

The item tower is frozen; its weights stay equal to the bit.

In: ``champion`` (a two-tower artifact), ``rows`` (train.parquet, holdout.parquet: transformed rows
and click; their click histories), and of the champion's generation ``datasets``, ``embeddings``
(embedding_table.npy) and ``item_inputs``.
Out: the files of a two-tower artifact, so that the next day can start from it.
"""

from __future__ import annotations

from recsys_assets.hyper_parameters import FineTuneQueryTowerParams
from recsys_assets.release_files import EMBEDDING_TABLE, ITEM_TOWER_INPUTS, ITEM_TOWER_ONNX
from recsys_assets.training import versions
from recsys_assets.training.step import Step, run


def fine_tune_query_tower(step: Step[FineTuneQueryTowerParams]) -> None:
    """Fine-tune the query tower, export both towers and report before and after.

    Raises:
        RuntimeError: a weight of the item tower changed.
    """
    versions.compare(step.input("champion"), versions.CHECKPOINT, step.log)
    step.start_tensorflow()
    import numpy as np

    from recsys_assets.training import batches, loaders, models, trainer
    from recsys_assets.training.retrieval import learning as retrieval_training
    from recsys_assets.training.retrieval import towers

    params, champion = step.params, step.input("champion")
    schema = loaders.read_schema(step.input("datasets"))
    loaders.check_cardinality(step.file("champion", "config.json"), schema)
    table = loaders.read_embeddings(step.file("embeddings", EMBEDDING_TABLE), schema)
    rows, holdout = (
        loaders.read_rows(
            step.file("rows", f"{name}.parquet"),
            clicked=True,
            history=loaders.History.read(step.input("rows"), name),
        )
        for name in ("train", "holdout")
    )
    catalogue = dict(np.load(step.file("item_inputs", ITEM_TOWER_INPUTS), allow_pickle=False))
    size = loaders.batch_size(len(rows), params.batch_size)
    step.log(f"{len(rows)} clicked rows, batches of {size}")
    shape = towers.read_shape(champion)
    learning = retrieval_training.TowerLearning.of(
        batches.with_vectors(schema),
        shape,
        rows,
        table,
        retrieval_training.Negatives(),
        size,
        step.seed,
        catalogue=catalogue,
        train_items=False,
    )
    pair = learning.pair
    pair.build()
    models.restore_checkpoint(champion, pair.parts)

    judge = retrieval_training.Judge(pair, holdout, learning.items, table, step.seed)
    before = judge.recall()
    item_before, query_before = models.weights(pair.item), models.weights(pair.query)
    plan = trainer.TrainingPlan(
        params.epochs, size, params.learning_rate, step.seed, drop_last=True
    )
    trainer.Trainer(learning.loss, learning.variables, params.learning_rate).fit(
        len(rows), plan, step
    )
    changed = models.changed(item_before, pair.item)
    if changed:
        raise RuntimeError(
            f"the frozen item tower changed in {', '.join(changed)}: its vectors no longer fit"
        )
    moved = len(models.changed(query_before, pair.query))
    step.report(
        **{"recall@100_before": before, "recall@100_after": judge.recall()},
        query_weights_changed=moved,
        rows=len(rows),
        holdout_rows=len(holdout),
        batch_size=size,
    )
    step.log(
        f"held-out recall@100 {before:.4f} before, {step.metrics['recall@100_after']:.4f} after"
    )
    towers.write(
        step, pair, schema, holdout, table, size, frozen_item_tower=champion / ITEM_TOWER_ONNX
    )


if __name__ == "__main__":
    run(fine_tune_query_tower, FineTuneQueryTowerParams)
