"""Trains both models with and without values of clicks; runs in the training environment.

Clicks on items of an odd index are worth 10, all others 1. Prints what it found as one line of
JSON.
"""

from __future__ import annotations

import json
import os

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import pandas as pd
import tensorflow as tf

from recsys_assets import columns as c
from recsys_assets.bench.training import shop as bench_data
from recsys_assets.training import batches, loaders, metrics, models, trainer
from recsys_assets.training.ranking import learning as ranking_training
from recsys_assets.training.retrieval import learning as retrieval_training
from recsys_assets_tests.support.probe import Quiet


def worth(rows: pd.DataFrame) -> np.ndarray:
    return np.where(rows[c.ITEM_ID] % 2 == 1, 10.0, 1.0).astype(np.float32)


def valued(rows: pd.DataFrame, values: np.ndarray | None) -> pd.DataFrame:
    if values is None:
        return rows
    return rows.assign(**{c.VALUE: np.where(rows[c.CLICK] == 1, values, 1).astype(np.float32)})


def ndcg(ranks: np.ndarray, values: np.ndarray) -> float:
    """Value-weighted nDCG@10 of ranks from 0; each click is a visitor of its own."""
    return float(np.average(np.where(ranks < 10, 1 / np.log2(2.0 + ranks), 0), weights=values))


def two_tower(values: str) -> dict[str, float]:
    tf.keras.utils.set_random_seed(5)
    shop = bench_data.make(200, 150, 6_000, 1, 1_500, 3)
    given = {"none": None, "same": np.full(len(shop.clicks), 3.0), "odd": worth(shop.clicks)}
    learning = retrieval_training.TowerLearning.of(
        batches.with_vectors(shop.schema),
        models.TwoTowerShape(True, 0.1, True, use_user_id=True),
        valued(shop.clicks, given[values]),
        shop.table,
        retrieval_training.Negatives(),
        128,
        5,
        catalogue=shop.catalogue,
    )
    plan = trainer.TrainingPlan(3, 128, 4e-3, 5, drop_last=True)
    learner = trainer.Trainer(learning.loss, learning.variables, 4e-3)
    learner.fit(len(shop.clicks), plan, Quiet())
    valid, items = shop.valid_clicks, learning.items
    vectors = learning.pair.item_vectors(items.cat, items.cont, shop.table[items.index])
    clicked = valid[c.ITEM_ID].to_numpy()
    ranks, losses = metrics.clicked_ranks_and_losses(
        learning.pair.query_vectors(valid), vectors, items.index, clicked, 0.1
    )
    judged = retrieval_training.Judge(
        learning.pair, valued(valid, worth(valid)), items, shop.table, 5
    ).loss(0.1)
    return {
        "value_ndcg": ndcg(ranks, worth(valid)),
        "checksum": float(np.abs(vectors.astype(np.float64)).sum()),
        "judged": judged,
        "weighted_loss": float(np.average(losses, weights=worth(valid))),
    }


def ranker(values: str) -> dict[str, float]:
    tf.keras.utils.set_random_seed(5)
    shop = bench_data.make(200, 40, 1, 8_000, 4_000, 3)
    rows, valid = shop.exposures, shop.valid_exposures
    given = {"none": None, "same": np.full(len(rows), 3.0), "odd": worth(rows)}
    learning = ranking_training.RankerLearning.of(
        batches.with_vectors(shop.schema),
        models.DlrmShape(True),
        valued(rows, given[values]),
        shop.table,
    )
    plan = trainer.TrainingPlan(3, 128, 4e-3, 5)
    learner = trainer.Trainer(learning.loss, learning.variables, 4e-3)
    learner.fit(len(rows), plan, Quiet())
    scores, clicked = learning.ranker.scores(valid, shop.table), valid[c.CLICK].to_numpy() == 1
    # each click among the unclicked rows of its list of 50
    lists = np.arange(len(valid)) // 50
    ranks = np.array(
        [
            (scores[(lists == lists[row]) & ~clicked] >= scores[row]).sum()
            for row in np.flatnonzero(clicked)
        ]
    )
    odd, log_odds = valid[c.ITEM_ID].to_numpy() % 2 == 1, np.log(scores / (1 - scores))
    return {
        "value_ndcg": ndcg(ranks, worth(valid)[clicked]),
        "checksum": float(np.abs(scores.astype(np.float64)).sum()),
        "odds_ratio": float(np.exp(log_odds[odd].mean() - log_odds[~odd].mean())),
    }


def drawn() -> dict[str, list[float]]:
    shop = bench_data.make(50, 40, 300, 1, 10, 3)
    rows = shop.clicks.assign(**{c.TIMESTAMP: np.arange(300) * 900})
    both, _ = ranking_training.with_negatives(
        valued(rows, np.full(300, 7.0)), shop.catalogue, np.full(40, 1 / 40), 2, 11
    )
    return {
        name: sorted(set(both.loc[both[c.CLICK] == click, c.VALUE].tolist()))
        for name, click in (("clicks", 1), ("negatives", 0))
    }


def weights() -> dict[str, object]:
    rows = pd.DataFrame({c.CLICK: [1, 0, 1, 1], c.VALUE: np.array([1, 1, 11, 0], np.float32)})
    nothing = rows.assign(**{c.VALUE: np.float32(0)})
    try:
        refused = str(loaders.weights(nothing))
    except ValueError as error:
        refused = str(error)
    dismissed = pd.DataFrame({c.CLICK: [1, 0, 0], c.VALUE: np.array([3, 1, 2.5], np.float32)})
    return {
        "dismissed": loaders.weights(dismissed).tolist(),
        "of": loaders.weights(rows).tolist(),
        "without": loaders.weights(rows[[c.CLICK]]) is None,
        "refused": refused,
    }


if __name__ == "__main__":
    kinds = ("none", "same", "odd")
    found = {
        "weights": weights(),
        "drawn": drawn(),
        "two_tower": {kind: two_tower(kind) for kind in kinds},
        "ranker": {kind: ranker(kind) for kind in kinds},
    }
    print(json.dumps(found), flush=True)
