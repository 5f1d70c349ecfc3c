"""Bench: train one model on a generated shop, here or with Merlin's stock set-up.

The step has no input and no output: the figures are its metrics. The stock set-up is mm.Loader,
Keras' Adam and Keras' fit. Its two-tower is Merlin's ContrastiveOutput over the batch, with the
same towers, temperature and logQ correction. Both train on the same rows for the same epochs and
are judged on the same rows. The rate leaves out building the graph.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from recsys_assets.hyper_parameters import DlrmParams, TwoTowerParams
from recsys_assets.training.step import Step, StepError, run

#: Steps of the stock set-up that are not timed: the first builds the graph.
WARM_UP_STEPS = 10
#: Of the stock two-tower; the stock DLRM uses this package's.
STOCK_BATCH_SIZE, STOCK_LEARNING_RATE = 1024, 2e-3


@dataclass(frozen=True)
class TrainModelsParams:
    """Parameters of the step.

    Attributes:
        part: two_tower, stock_two_tower, dlrm or stock_dlrm.
        users: number of visitors.
        items: number of items.
        rows: clicks of the two-tower, exposures of the DLRM.
        epochs: passes over the rows.
        judged: rows to judge by.
    """

    part: str
    users: int
    items: int
    rows: int
    epochs: int
    judged: int = 20_000


def bench_training(step: Step[TrainModelsParams]) -> None:
    """Train the part and report its speed and quality.

    Raises:
        StepError: the part is unknown, or the rows are too few to measure.
    """
    step.start_tensorflow()
    from recsys_assets.bench.training import shop as bench_data

    params = step.params
    parts = {
        "two_tower": _two_tower,
        "stock_two_tower": _stock_two_tower,
        "dlrm": _dlrm,
        "stock_dlrm": _stock_dlrm,
    }
    if params.part not in parts:
        raise StepError(f"unknown part {params.part!r}; known are {', '.join(parts)}")
    of_clicks = "two_tower" in params.part
    shop = bench_data.make(
        params.users,
        params.items,
        params.rows if of_clicks else 1,
        1 if of_clicks else params.rows,
        params.judged,
        step.seed,
    )
    step.report(
        part=params.part, rows=params.rows, epochs=params.epochs, **parts[params.part](step, shop)
    )
    step.log(str(step.metrics))


def _recall(pair: Any, shop: Any) -> float:
    from recsys_assets import columns as c
    from recsys_assets.training import metrics

    index = shop.catalogue["index"]
    vectors = pair.item_vectors(shop.catalogue["cat"], shop.catalogue["cont"], shop.table[index])
    ranks = metrics.clicked_ranks(
        pair.query_vectors(shop.valid_clicks),
        vectors,
        index,
        shop.valid_clicks[c.ITEM_ID].to_numpy(),
    )
    return metrics.recall(ranks, 100)


def _auc(ranker: Any, shop: Any) -> float:
    from recsys_assets import columns as c
    from recsys_assets.training import metrics

    return metrics.auc(
        shop.valid_exposures[c.CLICK].to_numpy(), ranker.scores(shop.valid_exposures, shop.table)
    )


def _two_tower(step: Step[TrainModelsParams], shop: Any) -> dict[str, float]:
    from recsys_assets.training import batches, loaders, models, trainer
    from recsys_assets.training.retrieval import learning as retrieval_training

    defaults = TwoTowerParams()
    size = loaders.batch_size(len(shop.clicks), defaults.batch_size)
    shape = models.TwoTowerShape(
        True, defaults.temperature, True, use_user_id=True, dropout=defaults.dropout
    )
    learning = retrieval_training.TowerLearning.of(
        batches.with_vectors(shop.schema),
        shape,
        shop.clicks,
        shop.table,
        retrieval_training.Negatives(
            defaults.negatives, defaults.uniform_negatives, defaults.item_id_dropout
        ),
        size,
        step.seed,
        catalogue=shop.catalogue,
    )
    plan = trainer.TrainingPlan(
        step.params.epochs, size, defaults.learning_rate, step.seed, drop_last=True
    )
    outcome = trainer.Trainer(learning.loss, learning.variables, defaults.learning_rate).fit(
        len(shop.clicks), plan, step
    )
    return {
        "rows_s": outcome.rows_per_second,
        "recall@100": _recall(learning.pair, shop),
        "batch_size": size,
    }


def _dlrm(step: Step[TrainModelsParams], shop: Any) -> dict[str, float]:
    from recsys_assets.training import batches, loaders, models, trainer
    from recsys_assets.training.ranking import learning as ranking_training

    defaults = DlrmParams()
    size = loaders.batch_size(len(shop.exposures), defaults.batch_size)
    learning = ranking_training.RankerLearning.of(
        batches.with_vectors(shop.schema),
        models.DlrmShape(use_user_id=True, dropout=defaults.dropout),
        shop.exposures,
        shop.table,
    )
    plan = trainer.TrainingPlan(step.params.epochs, size, defaults.learning_rate, step.seed)
    outcome = trainer.Trainer(learning.loss, learning.variables, defaults.learning_rate).fit(
        len(shop.exposures), plan, step
    )
    return {
        "rows_s": outcome.rows_per_second,
        "auc": _auc(learning.ranker, shop),
        "batch_size": size,
    }


def _stock_two_tower(step: Step[TrainModelsParams], shop: Any) -> dict[str, float]:
    import merlin.models.tf as mm
    import tensorflow as tf
    from merlin.models.tf.outputs.base import DotProduct
    from merlin.models.tf.transforms.bias import PopularityLogitsCorrection

    from recsys_assets import columns as c
    from recsys_assets.training import loaders, models
    from recsys_assets.training.retrieval import towers

    shape = models.TwoTowerShape(True, TwoTowerParams().temperature, True, use_user_id=True)
    size = loaders.batch_size(len(shop.clicks), STOCK_BATCH_SIZE)
    of_query = [name for names in models.query_columns(shape) for name in names]
    inputs = shop.schema.select_by_name([*of_query, *c.ITEM_CATEGORICAL, *c.ITEM_CONTINUOUS])
    loader = loaders.make_loader(shop.clicks, inputs, shop.table, size, drop_last=True)
    item_id = shop.schema.select_by_name(c.ITEM_ID)
    counts = models.item_counts(shop.clicks[c.ITEM_ID].to_numpy(), shop.schema)
    # Merlin also divides the correction by the temperature: scaled, the logits are s/T - log q
    correction = PopularityLogitsCorrection(
        tf.constant(counts + 1, tf.float32), schema=item_id, reg_factor=shape.temperature
    )
    model = models.build_two_tower(
        loader.output_schema,
        shape,
        mm.ContrastiveOutput(
            to_call=DotProduct(),
            negative_samplers="in-batch",
            schema=item_id,
            logits_temperature=shape.temperature,
            post=correction,
            store_negative_ids=True,
            query_name=models.QUERY,
            candidate_name=models.CANDIDATE,
        ),
    )
    rate = _fit_stock(step, model, loader, size, STOCK_LEARNING_RATE)
    return {
        "rows_s": rate,
        "recall@100": _recall(towers.Towers.of(model, shape), shop),
        "batch_size": size,
    }


def _stock_dlrm(step: Step[TrainModelsParams], shop: Any) -> dict[str, float]:
    from recsys_assets.training import loaders, models
    from recsys_assets.training.ranking import ranker

    shape = models.DlrmShape(use_user_id=True)
    size = loaders.batch_size(len(shop.exposures), DlrmParams().batch_size)
    loader = loaders.make_loader(shop.exposures, shop.schema, shop.table, size)
    model = models.build_dlrm(loader.output_schema, shape)
    rate = _fit_stock(step, model, loader, size, DlrmParams().learning_rate)
    return {"rows_s": rate, "auc": _auc(ranker.Ranker.of(model, shape), shop), "batch_size": size}


def _fit_stock(
    step: Step[TrainModelsParams], model: Any, loader: Any, size: int, learning_rate: float
) -> float:
    """Train with Keras' own fit; return rows per second without the first steps."""
    import tensorflow as tf

    clock: list[float] = []
    seen = [0]

    def batch_done(batch: int, logs: dict[str, float]) -> None:
        seen[0] += 1
        if seen[0] == WARM_UP_STEPS:
            clock.append(time.perf_counter())

    model.compile(optimizer=tf.keras.optimizers.Adam(learning_rate), run_eagerly=False, metrics=[])
    model.fit(
        loader,
        epochs=step.params.epochs,
        verbose=0,
        callbacks=[
            step.epoch_log(step.params.epochs),
            tf.keras.callbacks.LambdaCallback(on_batch_end=batch_done),
        ],
    )
    if not clock or seen[0] == WARM_UP_STEPS:
        raise StepError(
            f"{step.params.rows} rows are {seen[0]} steps of {size}: give more rows than "
            f"{WARM_UP_STEPS} steps take"
        )
    return round((seen[0] - WARM_UP_STEPS) * size / (time.perf_counter() - clock[0]), 1)


if __name__ == "__main__":
    run(bench_training, TrainModelsParams)
