"""Metrics against numbers worked out by hand and against scikit-learn; models through real ONNX files."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from recsys_assets.lib import evaluation as ev
from recsys_assets_tests.lib import linear_onnx


def test_true_ranks_by_hand():
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], np.float32)
    queries = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 0]], np.float32)
    # scores of [1,0]: 1, 0, .6, 1 (a tie: item 0 goes before item 3); of [0,1]: 0, 1, .8, 0
    true = np.array([0, 2, 1, 3, 3])
    assert ev.true_ranks(queries, vectors, true).tolist() == [1, 3, 1, 4, 2]
    assert ev.true_ranks(queries, vectors, true, chunk=2).tolist() == [1, 3, 1, 4, 2]


def test_true_ranks_agree_with_sorting():
    rng = np.random.default_rng(0)
    queries, vectors = rng.standard_normal((50, 8)).astype(np.float32), rng.standard_normal((30, 8)).astype(np.float32)
    true = rng.integers(0, 30, 50)
    order = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")
    expected = [1 + row.tolist().index(item) for row, item in zip(order, true, strict=True)]
    assert ev.true_ranks(queries, vectors, true, chunk=50).tolist() == expected


def test_metrics_are_averaged_per_user():
    # user a: ranks 1 and 50; user b: rank 3
    metrics = ev.retrieval_metrics(np.array([1, 50, 3]), ["a", "a", "b"])
    value = {name: m["value"] for name, m in metrics.items()}
    assert value == pytest.approx({
        "recall@10": (0.5 + 1) / 2, "recall@100": 1.0, "recall@300": 1.0,
        "ndcg@10": (0.5 * 1.0 + 1 / math.log2(4)) / 2, "mrr@10": (0.5 * 1.0 + 1 / 3) / 2})


def test_the_interval_covers_the_value_and_shrinks_with_users():
    ranks = np.where(np.random.default_rng(1).random(4000) < 0.3, 1, 1000)
    few = ev.retrieval_metrics(ranks[:100], np.arange(100))["recall@10"]
    many = ev.retrieval_metrics(ranks, np.arange(4000))["recall@10"]
    assert few["low"] < few["value"] < few["high"] and many["low"] < 0.3 < many["high"]
    # a binomial's own interval: 1.96 * sqrt(p (1 - p) / n)
    assert many["high"] - many["low"] == pytest.approx(2 * 1.96 * math.sqrt(0.3 * 0.7 / 4000), rel=0.15)
    assert few["high"] - few["low"] > 4 * (many["high"] - many["low"])
    assert ev.retrieval_metrics(ranks, np.arange(4000))["recall@10"] == many  # seeded
    # one heavy user's rows are one observation: they do not narrow the interval
    assert ev.retrieval_metrics(np.ones(50), ["a"] * 50)["recall@10"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_popularity_and_random_baselines():
    order = np.array([2, 0, 1])  # row 2 is the most popular
    assert ev.ranks_by_order(order, np.array([0, 1, 2, 2])).tolist() == [2, 3, 1, 1]
    with pytest.raises(ValueError, match="exactly once"):
        ev.ranks_by_order(np.array([0, 0, 1]), np.array([0]))
    expected = ev.random_metrics(600)
    assert expected["recall@100"] == pytest.approx(100 / 600)
    assert expected["mrr@10"] == pytest.approx(sum(1 / r for r in range(1, 11)) / 600)
    drawn = ev.retrieval_metrics(np.random.default_rng(0).integers(1, 601, 20_000), np.arange(20_000))
    assert all(m["low"] * 0.9 < expected[name] < m["high"] * 1.1 for name, m in drawn.items())


def test_rows_of_categorify_indices():
    assert ev.rows_of(np.array([5, 3, 4]), np.array([3, 5, 5, 4])).tolist() == [1, 0, 0, 2]
    with pytest.raises(ValueError, match=r"2 item indices have no vector, such as \[2, 9\]"):
        ev.rows_of(np.array([5, 3, 4]), np.array([2, 9, 3]))


def test_coverage_by_hand():
    vectors = np.eye(4, dtype=np.float32)
    assert ev.coverage(vectors[:2], vectors, k=1) == 0.5
    assert ev.coverage(vectors[:1], vectors, k=99) == 1.0


def test_auc_by_hand_and_as_scikit_learn():
    assert ev.auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert ev.auc([0, 1], [0.5, 0.5]) == 0.5
    rng = np.random.default_rng(0)
    clicks, scores = rng.random(1000) < 0.2, np.round(rng.random(1000), 2)  # rounded: many ties
    assert ev.auc(clicks, scores) == pytest.approx(roc_auc_score(clicks, scores), abs=1e-12)


def test_auc_refuses_what_it_cannot_judge():
    with pytest.raises(ValueError, match="got 2 and 0"):
        ev.auc([1, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="1 scores are not finite"):
        ev.auc([0, 1], [0.1, np.nan])


def test_log_loss_as_scikit_learn():
    rng = np.random.default_rng(0)
    clicks, scores = rng.random(500) < 0.3, rng.random(500)
    assert ev.log_loss(clicks, scores) == pytest.approx(sklearn_log_loss(clicks, scores), rel=1e-6)
    assert ev.log_loss([1], [0.0]) == pytest.approx(-math.log(1e-7))


def test_calibration_by_hand():
    # lower half says .1 and is right; upper half says .5 and is always clicked
    scores = np.array([0.1] * 10 + [0.5] * 10)
    clicks = np.array([1] + [0] * 9 + [1] * 10)
    table = ev.reliability(clicks, scores, bins=2)
    assert [(row["predicted"], row["observed"], row["rows"]) for row in table] == [
        (pytest.approx(0.1), pytest.approx(0.1), 10), (0.5, 1.0, 10)]
    assert ev.calibration_error(table) == pytest.approx(0.25)
    metrics = ev.ranking_metrics(clicks, scores)
    assert metrics["click_rate"] == 0.55 and metrics["rows"] == 20
    assert metrics["log_loss_of_mean"] == pytest.approx(-(0.55 * math.log(0.55) + 0.45 * math.log(0.45)))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return folder, linear_onnx.write_models(folder)


def queries(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"cat": rng.integers(0, 6, (n, 5)).astype(np.int32), "cont": rng.standard_normal((n, 7)).astype(np.float32)}


def test_encode_queries(models):
    folder, weights = models
    inputs = queries(7, np.random.default_rng(0))
    vectors = ev.encode_queries(folder / "query_tower.onnx", **inputs, batch=3)
    np.testing.assert_allclose(vectors, linear_onnx.answer(weights["query_tower.onnx"], inputs), atol=1e-6)


def test_score_dlrm_looks_its_embeddings_up(models):
    folder, weights = models
    rng = np.random.default_rng(0)
    cat, cont = rng.integers(0, 6, (7, 9)).astype(np.int32), rng.standard_normal((7, 9)).astype(np.float32)
    table = rng.standard_normal((6, 128)).astype(np.float32)
    scores = ev.score_dlrm(folder / "dlrm.onnx", cat, cont, table, batch=3)
    # item_id is the sixth categorical column, after four of the user and one of the context
    expected = linear_onnx.answer(weights["dlrm.onnx"], {"cat": cat, "cont": cont, "embeddings": table[cat[:, 5]]})
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    with pytest.raises(FileNotFoundError, match="serving/onnx_exports"):
        ev.score_dlrm(folder / "none.onnx", cat, cont, table)


def test_two_stages_as_served(models):
    folder, weights = models
    rng = np.random.default_rng(4)
    inputs = queries(5, rng)
    items = {"index": np.arange(3, 15, dtype=np.int32), "cont": rng.standard_normal((12, 1)).astype(np.float32)}
    items["cat"] = np.concatenate([items["index"][:, None], rng.integers(3, 6, (12, 3)).astype(np.int32)], axis=1)
    table = rng.standard_normal((15, 128)).astype(np.float32)
    vectors = rng.standard_normal((12, 64)).astype(np.float32)
    embeddings = ev.encode_queries(folder / "query_tower.onnx", **inputs)
    popularity, day = rng.standard_normal((3, 12)).astype(np.float32) * 20, np.array([2, 0, 1, 1, 2])
    true = rng.integers(0, 12, 5)
    ranks = ev.two_stage_ranks(folder / "dlrm.onnx", inputs["cat"], inputs["cont"], embeddings, items, popularity, day,
                               vectors, table, true, topk=6, chunk=2)
    for q in range(5):  # one visitor at a time, as serving does it
        found = np.argsort(-(embeddings[q] @ vectors.T), kind="stable")[:6]
        feed = {"cat": np.concatenate([np.tile(inputs["cat"][q], (6, 1)), items["cat"][found]], axis=1),
                "cont": np.concatenate([np.tile(inputs["cont"][q], (6, 1)), items["cont"][found],
                                        popularity[day[q], found][:, None]], axis=1),
                "embeddings": table[items["index"][found]]}
        ordered = found[np.argsort(-linear_onnx.answer(weights["dlrm.onnx"], feed), kind="stable")].tolist()
        assert ranks[q] == (ordered.index(true[q]) + 1 if true[q] in ordered else 13)
    assert (ranks == 13).any() and (ranks <= 6).any()


def test_parity_measures_the_difference(models, tmp_path):
    folder, weights = models
    inputs = queries(4, np.random.default_rng(0))
    truth = linear_onnx.answer(weights["query_tower.onnx"], inputs).astype(np.float32)
    sample = {f"query_{name}": values for name, values in {**inputs, "embedding": truth}.items()}
    np.savez(tmp_path / "good.npz", **sample)
    assert ev.parity(folder / "query_tower.onnx", tmp_path / "good.npz") < 1e-6
    sample["query_embedding"] = truth + np.float32(0.01) * np.eye(4, 64, dtype=np.float32)
    np.savez(tmp_path / "off.npz", **sample)
    assert ev.parity(folder / "query_tower.onnx", tmp_path / "off.npz") == pytest.approx(0.01, abs=1e-5)


def test_parity_of_a_model_alone_and_of_a_wrong_sample(models, tmp_path):
    folder, weights = models
    rng = np.random.default_rng(0)
    inputs = {"cat": rng.integers(0, 6, (3, 9)).astype(np.int32),
              "cont": rng.standard_normal((3, 9)).astype(np.float32),
              "embeddings": rng.standard_normal((3, 128)).astype(np.float32)}
    truth = linear_onnx.answer(weights["dlrm.onnx"], inputs)
    np.savez(tmp_path / "parity.npz", **inputs, score=truth)
    assert ev.parity(folder / "dlrm.onnx", tmp_path / "parity.npz") < 1e-6
    np.savez(tmp_path / "shape.npz", **inputs, score=truth[:2])
    with pytest.raises(ValueError, match="score has shape"):
        ev.parity(folder / "dlrm.onnx", tmp_path / "shape.npz")
    with pytest.raises(KeyError, match="query_cat"):
        ev.parity(folder / "query_tower.onnx", tmp_path / "parity.npz")
