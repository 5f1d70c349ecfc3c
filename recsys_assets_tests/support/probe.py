"""Runs in the training environment: what the tests beside it want to know of its modules, as one
JSON object.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import merlin.models.tf as mm  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import tensorflow as tf  # noqa: E402
from merlin.models.tf.outputs.base import DotProduct  # noqa: E402
from merlin.models.tf.transforms.bias import PopularityLogitsCorrection  # noqa: E402

from recsys_assets import columns as c  # noqa: E402
from recsys_assets import release_files  # noqa: E402
from recsys_assets.bench.training import shop as bench_data  # noqa: E402
from recsys_assets.training import (  # noqa: E402
    batches,
    contrastive,
    export,
    loaders,
    models,
    onnx_graph,
    trainer,
)
from recsys_assets.training.item_history import ItemHistory  # noqa: E402
from recsys_assets.training.ranking import factored, ranker  # noqa: E402
from recsys_assets.training.ranking import learning as ranking_training  # noqa: E402
from recsys_assets.training.retrieval import learning as retrieval_training  # noqa: E402
from recsys_assets.training.retrieval import query_graph, towers  # noqa: E402

TEMPERATURE, SIZE, ITEMS = 0.2, 48, 20


class Quiet:
    """A step that logs nowhere."""

    def log(self, line: str) -> None:
        del line


def against_merlin() -> dict[str, float]:
    """Loss and gradients of the folded output and of Merlin's own, on a batch in which items come
    up several times.
    """
    random = np.random.default_rng(1)
    shop = bench_data.make(50, ITEMS, 10, 10, 10, 1)
    item_id = shop.schema.select_by_name(c.ITEM_ID)
    counts = random.integers(1, 50, c.VOCABULARY_START + ITEMS)
    clicked = random.integers(0, ITEMS, SIZE)  # 48 rows of 20 items: each several times
    queries = tf.math.l2_normalize(random.normal(size=(SIZE, 8)).astype(np.float32), axis=1)
    items = tf.math.l2_normalize(random.normal(size=(ITEMS, 8)).astype(np.float32), axis=1)
    log_q = np.log(counts / counts.sum()).astype(np.float32)
    found: dict[str, float] = {}
    for name, logq in (("plain", False), ("logq", True)):
        post = (
            PopularityLogitsCorrection(
                tf.constant(counts, tf.float32), schema=item_id, reg_factor=TEMPERATURE
            )
            if logq
            else None
        )
        stock = mm.ContrastiveOutput(
            to_call=DotProduct(),
            negative_samplers="in-batch",
            schema=item_id,
            logits_temperature=TEMPERATURE,
            post=post,
            store_negative_ids=logq,
        )
        folded = contrastive.FoldedContrastiveOutput(
            item_id, TEMPERATURE, learned=False, query_name="query", candidate_name="candidate"
        )
        ids = tf.constant(clicked + c.VOCABULARY_START, tf.int32)[:, None]
        with tf.GradientTape() as tape:
            tape.watch([queries, items])
            candidate = tf.gather(items, clicked)
            predicted = stock(
                {"query": queries, "candidate": candidate}, features={c.ITEM_ID: ids}, training=True
            )
            loss = tf.reduce_mean(
                tf.keras.losses.categorical_crossentropy(
                    predicted.targets, predicted.outputs, from_logits=True
                )
            )
        theirs = (loss, *[tf.convert_to_tensor(g) for g in tape.gradient(loss, [queries, items])])
        # every row's item as a negative of its own, with repetitions, exactly as in Merlin's batch
        zero = np.zeros(SIZE, np.float32)
        shift = log_q[clicked + c.VOCABULARY_START] if logq else zero
        with tf.GradientTape() as tape:
            tape.watch([queries, items])
            candidate = tf.gather(items, clicked)
            distinct, place, repeated = tf.unique_with_counts(tf.constant(clicked, tf.int32))
            correction = (log_q[distinct.numpy() + c.VOCABULARY_START] if logq else 0) - np.log(
                repeated.numpy()
            ).astype(np.float32)
            predicted = folded.call_contrastive(
                {"query": queries, "candidate": candidate},
                {
                    c.ITEM_ID: ids,
                    contrastive.NEGATIVE_IDS: distinct[:, None],
                    contrastive.NEGATIVE_VECTORS: tf.gather(items, distinct),
                    contrastive.NEGATIVE_LOG_Q: tf.constant(correction),
                    # the negative of several rows counts as often as they are; the row's own one
                    # goes altogether
                    contrastive.POSITIVE_LOG_Q: tf.constant(shift),
                    contrastive.OWN: place,
                },
                training=True,
            )
            loss = tf.reduce_mean(
                tf.nn.softmax_cross_entropy_with_logits(predicted.targets, predicted.outputs)
            )
        ours = (loss, *[tf.convert_to_tensor(g) for g in tape.gradient(loss, [queries, items])])
        found |= {
            f"{name}_{part}": float(np.abs(a - b).max())
            for part, a, b in zip(("loss", "query", "item"), ours, theirs, strict=True)
        }
        found[f"{name}_size"] = float(np.abs(theirs[1]).max())
    # the row's own item is no negative: with one item in all, nothing is left to confuse it with
    rest = contrastive.log_sum_of_negatives(queries[:2], items[:1], tf.constant([0, -1]))
    found |= {
        "own_left_out": float(rest[0]),
        "own_counted": float(rest[1]),
        "one_item": float(tf.reduce_sum(queries[1] * items[0])),
    }
    return found


def inclusion() -> dict[str, float]:
    """The probability that an item is among a batch's negatives, against 4,000 drawn batches."""
    random = np.random.default_rng(2)
    counts = np.array([400, 100, 20, 4, 0])
    said = np.exp(contrastive.log_inclusion(counts, 8, uniform=1, catalogue=5))
    share = (counts + 1) / (counts.sum() + 5)
    hits = np.zeros(5)
    for _ in range(4_000):
        hits[np.union1d(random.choice(5, 8, p=share), random.integers(0, 5, 1))] += 1
    return {
        "largest_difference": float(np.abs(said - hits / 4_000).max()),
        "rarest": float(said[-1]),
        "commonest": float(said[0]),
    }


def two_tower(**change: object) -> dict[str, object]:
    """A small two-tower trained for some epochs."""
    tf.keras.utils.set_random_seed(5)
    shop = bench_data.make(200, 150, 6_000, 1, 500, 3)
    settings = {
        "epochs": 3,
        "patience": 0,
        "learned": False,
        "item_id_dropout": 0.0,
        "uniform": 0,
        "negatives": 0,
        "l2": 0.0,
        **change,
    }
    shape = models.TwoTowerShape(
        True,
        0.1,
        True,
        use_user_id=True,
        learned_temperature=settings["learned"],
        embedding_l2=settings["l2"],
    )
    learning = retrieval_training.TowerLearning.of(
        batches.with_vectors(shop.schema),
        shape,
        shop.clicks,
        shop.table,
        retrieval_training.Negatives(
            settings["negatives"], settings["uniform"], settings["item_id_dropout"]
        ),
        128,
        5,
        catalogue=shop.catalogue,
    )
    real = retrieval_training.Judge(
        learning.pair, shop.valid_clicks, learning.items, shop.table, 5, k=10
    ).recall
    script, told = list(settings.get("figures", [])), []

    def judge() -> float:
        told.append(models.weights(learning.pair.query))
        return script[len(told) - 1] if script else real()

    learner = trainer.Trainer(learning.loss, learning.variables, 4e-3)
    plan = trainer.TrainingPlan(
        settings["epochs"], 128, 4e-3, 5, settings["patience"], drop_last=True
    )
    outcome = learner.fit(len(shop.clicks), plan, Quiet(), judge)
    item = learning.pair.item_vectors
    cat = learning.items.cat.copy()
    cat[:, 0] = c.OOV_INDEX
    by_content = item(cat, learning.items.cont, shop.table[learning.items.index])
    whole = item(learning.items.cat, learning.items.cont, shop.table[learning.items.index])
    kept = [
        i
        for i, weights in enumerate(told)
        if all(
            np.array_equal(a, b)
            for a, b in zip(weights, models.weights(learning.pair.query), strict=True)
        )
    ]
    return {
        "figures": outcome.figures,
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "kept_epochs": [k + 1 for k in kept],
        "losses": outcome.losses,
        "temperature": float(learning.output.temperature),
        "similarity_without_id": float(np.mean(np.sum(by_content * whole, axis=1))),
        "user_norm": float(np.linalg.norm(learning.pair.query.trainable_variables[0])),
        "checksum": float(np.sum(np.abs(whole.astype(np.float64)))),
    }


def clicks_only() -> dict[str, object]:
    """Negatives drawn for a log of clicks, and the calibration of a DLRM that learned from them."""
    tf.keras.utils.set_random_seed(5)
    shop = bench_data.make(300, 40, 4_000, 1, 2_000, 3)
    random = np.random.default_rng(3)
    catalogue = {**shop.catalogue, "cat": shop.catalogue["cat"].copy()}
    catalogue["cat"][0, 0] = c.OOV_INDEX  # an item whose id the item tower was not taught

    def dated(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.copy()
        rows[c.TIMESTAMP] = np.sort(random.integers(0, 3 * 86_400, len(rows)))
        rows.loc[random.random(len(rows)) < 0.05, c.USER_ID] = c.OOV_INDEX
        rows[c.ITEM_POPULARITY] = (rows[c.ITEM_ID] + 100 * (rows[c.TIMESTAMP] // 86_400)).astype(
            np.float32
        )
        return rows

    clicks, valid = dated(shop.clicks), dated(shop.valid_clicks)
    counts = models.item_counts(clicks[c.ITEM_ID].to_numpy(), shop.schema)[catalogue["index"]]
    shares = ranking_training.draw_shares(counts)
    both, offsets = ranking_training.with_negatives(clicks, catalogue, shares, 5, 11)
    negatives = both[both[c.CLICK] == 0]
    key = [c.USER_ID, "day", c.ITEM_ID]
    known = both[both[c.USER_ID] != c.OOV_INDEX].assign(
        day=lambda rows: rows[c.TIMESTAMP] // 86_400
    )
    clicked = known[known[c.CLICK] == 1][key].drop_duplicates()
    shown = known[known[c.CLICK] == 0][key].merge(clicked, on=key)
    days = negatives[c.TIMESTAMP] // 86_400
    drawn = np.bincount(negatives[c.ITEM_ID] - c.VOCABULARY_START, minlength=40)
    item = negatives[c.ITEM_ID].to_numpy() - c.VOCABULARY_START
    shape = models.DlrmShape(use_user_id=True)
    learning = ranking_training.RankerLearning.of(
        batches.with_vectors(shop.schema), shape, both, shop.table, offsets
    )
    trainer.Trainer(learning.loss, learning.variables, 2e-3).fit(
        len(both), trainer.TrainingPlan(3, 128, 2e-3, 5), Quiet()
    )
    # of each visit the whole catalogue: the probabilities should come to about one click
    visits = valid.sample(200, random_state=1)
    everything = visits.loc[visits.index.repeat(40)].reset_index(drop=True)
    place = np.tile(np.arange(40), 200)
    for i, name in enumerate(c.ITEM_CATEGORICAL):
        everything[name] = shop.catalogue["cat"][place, i]
    everything[c.PRICE_LOG_NORM] = shop.catalogue["cont"][place, 0]
    everything[c.ITEM_POPULARITY] = (
        everything[c.ITEM_ID] + 100 * (everything[c.TIMESTAMP] // 86_400)
    ).astype(np.float32)
    return {
        "rows": len(both),
        "negatives": len(negatives),
        "clicked_that_day": len(shown),
        "correlation_with_shares": float(np.corrcoef(drawn, shares)[0, 1]),
        "oov_items": int((negatives[c.ITEM_ID] == c.OOV_INDEX).sum()),
        "inputs_are_the_items": bool(
            (negatives[c.CATEGORY_L2].to_numpy() == catalogue["cat"][item, 2]).all()
            and np.allclose(negatives[c.PRICE_LOG_NORM], catalogue["cont"][item, 0])
        ),
        "context_is_the_clicks": bool(negatives[c.TIMESTAMP].isin(clicks[c.TIMESTAMP]).all()),
        "popularity_of_the_day": float(
            np.mean(negatives[c.ITEM_POPULARITY] == negatives[c.ITEM_ID] + 100 * days)
        ),
        "offset": float(offsets[0]),
        "expected_offset": float(
            np.log(5 * shares[clicks[c.ITEM_ID].iloc[0] - c.VOCABULARY_START])
        ),
        "clicks_a_visit": float(learning.ranker.scores(everything, shop.table).sum() / 200),
    }


def never_shown(dropout: float = 0.3) -> dict[str, object]:
    """DLRM's table of item ids where ten of forty items were shown to nobody, before training,
    after it, and forgotten.
    """
    tf.keras.utils.set_random_seed(5)
    shop = bench_data.make(200, 40, 1, 4_000, 500, 3)
    hidden = np.arange(c.VOCABULARY_START + 30, c.VOCABULARY_START + 40)
    rows = shop.exposures[~shop.exposures[c.ITEM_ID].isin(hidden)].reset_index(drop=True)
    shown = np.setdiff1d(np.arange(c.VOCABULARY_START, c.VOCABULARY_START + 40), hidden)
    learning = ranking_training.RankerLearning.of(
        batches.with_vectors(shop.schema),
        models.DlrmShape(),
        rows,
        shop.table,
        item_id_dropout=dropout,
        seed=5,
    )
    learner = trainer.Trainer(learning.loss, learning.variables, 2e-3)
    learner.build(256)
    [table] = [variable for variable in learner.variables if variable.shape[0] == len(shop.table)]
    states = [table.numpy()]
    learner.fit(len(rows), trainer.TrainingPlan(2, 256, 2e-3, 5), Quiet())
    states.append(table.numpy())
    forgotten = ranking_training.forget_untrained_items(learning.ranker, rows[c.ITEM_ID].to_numpy())
    states.append(table.numpy())
    before, trained, after = states
    asked = shop.valid_exposures[shop.valid_exposures[c.ITEM_ID].isin(hidden)]
    vectors = np.zeros_like(shop.table)  # the content tells an item too, and is not asked about
    unknown = learning.ranker.scores(asked.assign(**{c.ITEM_ID: np.int32(c.OOV_INDEX)}), vectors)
    return {
        "forgotten": forgotten,
        "oov_moved": float(np.abs(trained[c.OOV_INDEX] - before[c.OOV_INDEX]).max()),
        "were_chance": bool(
            (trained[hidden] == before[hidden]).all()
            and (trained[hidden] != trained[c.OOV_INDEX]).any(axis=1).all()
        ),
        "hidden_are_oov": bool((after[hidden] == after[c.OOV_INDEX]).all()),
        "shown_stay": bool(
            (after[shown] == trained[shown]).all()
            and (after[shown] != after[c.OOV_INDEX]).any(axis=1).all()
        ),
        "shown_moved": bool((trained[shown] != before[shown]).any(axis=1).all()),
        "reserved_stay": bool((after[: c.VOCABULARY_START] == trained[: c.VOCABULARY_START]).all()),
        "scored": len(asked),
        "score_difference": float(np.abs(learning.ranker.scores(asked, vectors) - unknown).max()),
    }


def packed() -> dict[str, object]:
    """A batch made of packed rows, with a further input by a maker, beside the data frame
    itself.
    """
    shop = bench_data.make(50, 30, 200, 1, 10, 3)
    rows = batches.ranker_rows(shop.clicks, shop.table, models.DlrmShape(use_user_id=True))
    more = batches.Rows(
        rows.matrices,
        rows.names,
        {"history": np.arange(400).reshape(200, 2).astype(np.int32)},
        rows.lookups,
        [lambda made: {"profile": tf.reduce_sum(made["history"], axis=1, keepdims=True)}],
    )
    chosen = np.array([7, 3, 150])
    batch = {name: value.numpy() for name, value in more.feed()(tf.constant(chosen)).items()}
    equal = all(
        np.array_equal(batch[name][:, 0], shop.clicks[name].to_numpy()[chosen])
        for name in (*c.RANKER_CATEGORICAL, *c.RANKER_CONTINUOUS)
    )
    ids = shop.clicks[c.ITEM_ID].to_numpy()[chosen]
    vectors = np.concatenate([batch[c.TEXT_EMBEDDING], batch[c.IMAGE_EMBEDDING]], axis=1)
    items = batches.Items.of(shop.clicks, shop.catalogue)
    orders = [batches.order(100, 32, 7, epoch, drop_last=True) for epoch in (0, 0, 1)]
    try:
        batches.Rows(rows.matrices, rows.names, {"history": np.zeros((3, 2))})
        refused = ""
    except ValueError as error:
        refused = str(error)
    return {
        "equal": equal,
        "vectors": bool(np.array_equal(vectors, shop.table[ids])),
        "profile": batch["profile"][:, 0].tolist(),
        "items_in_catalogue_order": bool(np.array_equal(items.index[:30], shop.catalogue["index"])),
        "clicked": bool(np.array_equal(items.index[items.clicked], shop.clicks[c.ITEM_ID])),
        "order_length": len(orders[0]),
        "same_epoch": bool(np.array_equal(orders[0], orders[1])),
        "other_epoch": bool(np.array_equal(orders[0], orders[2])),
        "distinct": len(set(orders[0].tolist())),
        "refused": refused,
    }


def graphs() -> dict[str, float]:
    """How far the graphs written by hand are from TensorFlow, for models of other shapes than the
    shop's own.
    """
    tf.keras.utils.set_random_seed(5)
    shop = bench_data.make(50, 30, 40, 40, 40, 3)
    schema, found = batches.with_vectors(shop.schema), {}
    categories = loaders.cardinalities(shop.schema)[c.CATEGORY_L1]
    history = np.random.default_rng(1).integers(0, 4, (40, 2 * categories)).astype(np.float32)
    history[0] = 0
    latest = latest_clicks(40, loaders.cardinalities(shop.schema)[c.ITEM_ID])
    folder = Path(tempfile.mkdtemp(prefix="recsys-graphs-"))
    for name, change in {
        "plain": {},
        "with_user_id": {"use_user_id": True},
        "other_layers": {"bottom_layers": (64,), "top_layers": (32, 16, 8, 4)},
    }.items():
        shape = models.DlrmShape(**change)
        made = ranker.Ranker.of(models.build_dlrm(schema, shape), shape)
        made.build()
        moved(made.model)
        inputs = ranker.inputs(shop.exposures, shop.table)
        parts = factored.FactoredRanker(made.model, shape)
        parts.write_items(folder / release_files.RANKER_ITEMS_ONNX)
        parts.write_lists(folder / release_files.RANKER_LISTS_ONNX)
        found[f"ranker_{name}"] = factored.onnx_difference(
            folder, inputs, export.apply(made.function, inputs)
        )
    usual = {
        "use_context": True,
        "temperature": 0.1,
        "logq_correction": True,
        "categories": categories,
        "items": loaders.cardinalities(shop.schema)[c.ITEM_ID],
    }
    for name, change in {
        "plain": {},
        "with_user_id": {"use_user_id": True},
        "without_history": {"categories": 0},
        "without_context": {"use_context": False},
        "without_items": {"items": 0},
        "items_alone": {"categories": 0, "use_context": False},
        "other_layers": {"layers": (32, 96, c.EMBEDDING_DIM)},
        "one_head": {"history_heads": 1, "history_dropout": 0.4},
        "eight_heads": {"history_heads": 8, "last_item_share": 1.7},
        "no_last_item": {"last_item_share": 0.0},
    }.items():
        shape = models.TwoTowerShape(**{**usual, **change})
        pair = towers.Towers.of(
            models.build_two_tower(schema, shape, models.contrastive_output(schema, shape)), shape
        )
        pair.build()
        moved(pair.query)
        inputs = {
            export.CAT: loaders.pack(shop.exposures, c.QUERY_CATEGORICAL),
            export.CONT: loaders.pack(shop.exposures, c.QUERY_CONTINUOUS),
            **({export.HISTORY: history[: len(shop.exposures)]} if shape.categories else {}),
            **(latest if shape.items else {}),
        }
        expected = export.apply(pair.query_function, inputs)
        query_graph.write_query_tower(pair.query, shape, folder / "query_tower.onnx")
        found[f"query_tower_{name}"] = export.onnx_difference(
            folder / "query_tower.onnx", inputs, expected
        )
    shutil.rmtree(folder)
    return found


def latest_clicks(rows: int, items: int) -> dict[str, np.ndarray]:
    """Latest items and ages of visitors: with no click, one, fifty, and with unknown items alone,
    first and among known ones; ages are on the steps of the weights and between them.
    """
    random = np.random.default_rng(4)
    counts = random.integers(0, c.ITEM_HISTORY + 1, rows)
    counts[:4] = 0, 1, c.ITEM_HISTORY, 1
    item = random.integers(c.OOV_INDEX, items, (rows, c.ITEM_HISTORY)).astype(np.int32)
    item[3] = item[4, 0] = item[2, 5] = c.OOV_INDEX
    steps = (2.0 ** random.integers(0, 16, item.shape) / 60).astype(np.float32)
    between = random.uniform(0, 700, item.shape).astype(np.float32)
    age = np.sort(np.where(random.random(item.shape) < 0.5, steps, between), axis=1)
    none = np.arange(c.ITEM_HISTORY) >= counts[:, None]
    item[none], age[none] = 0, 0
    return dict(zip(c.QUERY_OF_ITEMS, (item, age), strict=True))


def hidden_items() -> dict[str, float]:
    """Share of the visitors whose only item is hidden by a dropout of .3: in training, and not."""
    history = ItemHistory(10, 4, 0.3)
    items = np.zeros((2_000, c.ITEM_HISTORY), np.int32)
    items[:, 0] = 5
    hours = np.zeros(items.shape, np.float32)
    shares = {}
    for name, training in (("training", True), ("answering", False)):
        pooled, last = history(tf.constant(items), tf.constant(hours), training=training)
        hidden = ~np.asarray(pooled).any(axis=1)
        assert (hidden == ~np.asarray(last).any(axis=1)).all()
        shares[name] = float(hidden.mean())
    return shares


def sigmoids() -> dict[str, float]:
    """Return the largest relative error of a probability by both ways of making ONNX files."""
    import onnxruntime

    logits = np.linspace(-30, 30, 4_001, dtype=np.float32)[:, None]
    exact = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))

    def score(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": tf.reshape(tf.sigmoid(x), [-1])}

    converted = tf.function(score, input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        export.to_onnx(converted, Path(folder) / "converted.onnx")
        graph = onnx_graph.Graph()
        identity = onnx_graph.Dense(np.ones((1, 1), np.float32), np.zeros(1, np.float32), "Sigmoid")
        made = graph.dense("x", identity)
        graph.node("Reshape", made, np.array([-1]), output="score")
        graph.save(
            Path(folder) / "made.onnx", {"x": (np.float32, ["rows", 1])}, {"score": ["rows"]}
        )
        for name in ("converted", "made"):
            session = onnxruntime.InferenceSession(
                f"{folder}/{name}.onnx", providers=["CPUExecutionProvider"]
            )
            (values,) = session.run(None, {"x": logits})
            found[name] = float((np.abs(values - exact) / exact).max())
    return found


def moved(model: tf.keras.Model) -> None:
    """Give every weight a value of its own: new biases are zeros, and hide where they belong."""
    random = np.random.default_rng(2)
    for weight in model.weights:
        if weight.dtype.is_floating:
            weight.assign_add(random.normal(0, 0.05, weight.shape).astype(np.float32))


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "merlin": against_merlin(),
                "inclusion": inclusion(),
                "packed": packed(),
                "clicks_only": clicks_only(),
                "graphs": graphs(),
                "never_shown": never_shown(),
                "never_shown_without_dropout": never_shown(0.0),
                "plain": two_tower(),
                "again": two_tower(),
                "dropped": two_tower(item_id_dropout=0.3, uniform=16, negatives=64),
                "learned": two_tower(learned=True, l2=1e-2),
                "stopped": two_tower(epochs=6, patience=2, figures=[0.1, 0.5, 0.3, 0.4, 0.9, 0.9]),
                "hidden_items": hidden_items(),
                "sigmoids": sigmoids(),
            }
        )
    )
