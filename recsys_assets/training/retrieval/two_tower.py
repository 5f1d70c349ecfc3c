"""Train the two towers on clicked rows and export both.

In: ``datasets``, ``workflows`` (transforms.json), ``embeddings`` (embedding_table.npy),
``item_inputs`` (item_tower_inputs.npz: index int32 [I], cat int32 [I, 4], cont float32 [I, 1] of
the whole catalogue).
Out: checkpoint/, config.json, query_tower.onnx, item_tower.onnx, parity.npz.

An item whose id is out-of-vocabulary in cat has no click in the training days. The tower computes
its vector from attributes and content alone; item_id_dropout trains the tower for such ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys_assets.hyper_parameters import TwoTowerParams
from recsys_assets.release_files import EMBEDDING_TABLE, ITEM_TOWER_INPUTS, TRANSFORMS
from recsys_assets.training.step import Step, run

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from merlin.schema import Schema

    from recsys_assets.training.retrieval.towers import Towers
    from recsys_assets.training.trainer import TrainingOutcome


def train_two_tower(step: Step[TwoTowerParams]) -> None:
    """Train both towers, export them and report their recall on the validation clicks."""
    step.start_tensorflow()
    import numpy as np

    from recsys_assets import columns as c
    from recsys_assets.training import batches, loaders, models
    from recsys_assets.training.retrieval import towers

    datasets = step.input("datasets")
    schema = loaders.read_schema(datasets)
    loaders.check_cardinality(step.file("workflows", TRANSFORMS), schema)
    table = loaders.read_embeddings(step.file("embeddings", EMBEDDING_TABLE), schema)
    catalogue = dict(np.load(step.file("item_inputs", ITEM_TOWER_INPUTS), allow_pickle=False))
    all_clicks = loaders.read_rows(
        datasets / "train", clicked=True, history=loaders.History.read(datasets, "train")
    )
    rows, held_out = batches.split(all_clicks, step.params.held_out, step.seed, keep=c.ITEM_ID)
    size = loaders.batch_size(len(rows), step.params.batch_size)
    step.log(f"{len(rows)} clicked rows, {len(held_out)} held out, batches of {size}")
    pair, outcome = _train(step, schema, table, catalogue, rows, held_out, size)

    clicks = loaders.read_rows(
        datasets / "valid", clicked=True, history=loaders.History.read(datasets, "valid")
    )
    counts = models.item_counts(all_clicks[c.ITEM_ID].to_numpy(), schema)
    _report_recall(step, pair, clicks, catalogue, table, counts)
    step.report(
        rows=len(rows),
        held_out_clicks=len(held_out),
        validation_clicks=len(clicks),
        items=len(catalogue["index"]),
        batch_size=size,
        items_without_id=int((catalogue["cat"][:, 0] == c.OOV_INDEX).sum()),
        epochs=outcome.epochs,
        best_epoch=outcome.best_epoch,
        held_out_loss=outcome.figures,
        rows_per_second=outcome.rows_per_second,
        temperature=pair.shape.temperature,
    )
    towers.write(step, pair, schema, clicks, table, size)


def _train(
    step: Step[TwoTowerParams],
    schema: Schema,
    table: np.ndarray,
    catalogue: dict[str, np.ndarray],
    rows: pd.DataFrame,
    held_out: pd.DataFrame,
    size: int,
) -> tuple[Towers, TrainingOutcome]:
    """Train both towers; their shape has the temperature that was learned.

    Args:
        rows: clicked rows to train on.
        held_out: clicked rows for early stopping; may be empty.
        size: batch size.
    """
    import dataclasses

    from recsys_assets import columns as c
    from recsys_assets.training import batches, loaders, models, trainer
    from recsys_assets.training.retrieval import learning as retrieval_training

    params = step.params
    shape = models.TwoTowerShape(
        params.use_context,
        params.temperature,
        params.logq_correction,
        loaders.cardinalities(schema)[c.CATEGORY_L1] if params.use_history else 0,
        loaders.cardinalities(schema)[c.ITEM_ID] if params.use_items else 0,
        params.use_user_id,
        params.learned_temperature,
        params.embedding_dim,
        dropout=params.dropout,
        embedding_l2=params.embedding_l2,
        history_heads=params.history_heads,
        history_dropout=params.history_dropout,
        last_item_share=params.last_item_share,
    )
    learning = retrieval_training.TowerLearning.of(
        batches.with_vectors(schema),
        shape,
        rows,
        table,
        retrieval_training.Negatives(
            params.negatives, params.uniform_negatives, params.item_id_dropout
        ),
        size,
        step.seed,
        catalogue=catalogue,
    )
    plan = trainer.TrainingPlan(
        params.epochs,
        size,
        params.learning_rate,
        step.seed,
        params.patience if len(held_out) else 0,
        params.learning_rate_decay,
        drop_last=True,
    )
    judge = retrieval_training.Judge(learning.pair, held_out, learning.items, table, step.seed)
    outcome = trainer.Trainer(learning.loss, learning.variables, params.learning_rate).fit(
        len(rows),
        plan,
        step,
        (lambda: judge.loss(float(learning.output.temperature))) if len(held_out) else None,
        higher_is_better=False,
        figure="log loss",
    )
    step.report(held_out_recall=judge.recalls)
    trained = dataclasses.replace(shape, temperature=float(learning.output.temperature))
    return dataclasses.replace(learning.pair, shape=trained), outcome


def _report_recall(
    step: Step[TwoTowerParams],
    pair: Towers,
    clicks: pd.DataFrame,
    catalogue: dict[str, np.ndarray],
    table: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Report recall over the catalogue beside that of popularity and of chance.

    Args:
        clicks: validation clicks.
        counts: training clicks by item index.
    """
    from recsys_assets import columns as c
    from recsys_assets.training import metrics

    index, clicked = catalogue["index"], clicks[c.ITEM_ID].to_numpy()
    vectors = pair.item_vectors(catalogue["cat"], catalogue["cont"], table[index])
    ranks = metrics.clicked_ranks(pair.query_vectors(clicks), vectors, index, clicked)
    baseline = metrics.popularity_ranks(counts, index, clicked)
    for k in (10, 100):
        step.report(
            **{
                f"recall@{k}": metrics.recall(ranks, k),
                f"popularity_recall@{k}": metrics.recall(baseline, k),
                f"random_recall@{k}": min(1.0, k / len(index)),
            }
        )
    step.log(
        f"recall@100 {step.metrics['recall@100']:.4f}, popularity's "
        f"{step.metrics['popularity_recall@100']:.4f}"
    )


if __name__ == "__main__":
    run(train_two_tower, TwoTowerParams)
