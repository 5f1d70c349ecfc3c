"""Metrics against numbers worked out by hand and against scikit-learn; models through real ONNX
files.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from recsys_assets.lib.evaluation import ranker_metrics as ev
from recsys_assets.lib.exports import parity
from recsys_assets.lib.exports.session import open_model, run_model
from recsys_assets_tests.support import linear_onnx


def test_rows_of_categorify_indices():
    assert ev.rows_of(np.array([5, 3, 4]), np.array([3, 5, 5, 4])).tolist() == [1, 0, 0, 2]
    with pytest.raises(ValueError, match=r"2 item indices have no vector, such as \[2, 9\]"):
        ev.rows_of(np.array([5, 3, 4]), np.array([2, 9, 3]))


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
        (pytest.approx(0.1), pytest.approx(0.1), 10),
        (0.5, 1.0, 10),
    ]
    assert ev.calibration_error(table) == pytest.approx(0.25)
    metrics = ev.ranking_metrics(clicks, scores)
    assert metrics["click_rate"] == 0.55 and metrics["rows"] == 20
    assert metrics["log_loss_of_mean"] == pytest.approx(
        -(0.55 * math.log(0.55) + 0.45 * math.log(0.45))
    )


@pytest.mark.parametrize(
    ("clicks", "rate"), [(np.ones(3), 1.0), (np.zeros(3), 0.0), (np.zeros(0), None)]
)
def test_rows_of_one_class_say_nothing_of_a_ranker(clicks, rate):
    assert ev.one_class(clicks) and not ev.one_class(np.array([1, 0]))
    assert ev.ranking_metrics(clicks, np.linspace(0.1, 0.3, len(clicks))) == {
        "auc": None,
        "log_loss": None,
        "log_loss_of_mean": None,
        "calibration_error": None,
        "click_rate": rate,
        "rows": len(clicks),
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return folder, linear_onnx.write_models(folder)


def queries(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "cat": rng.integers(0, 6, (n, 5)).astype(np.int32),
        "cont": rng.standard_normal((n, 8)).astype(np.float32),
        "history": rng.integers(0, 9, (n, linear_onnx.HISTORY)).astype(np.float32),
    }


def test_a_model_is_run_in_batches_of_any_size(models):
    folder, weights = models
    inputs, session = queries(5, np.random.default_rng(0)), open_model(folder / "query_tower.onnx")
    expected = linear_onnx.answer(weights["query_tower.onnx"], inputs)
    for batch in (2, 5, 99):
        np.testing.assert_allclose(run_model(session, inputs, batch), expected, atol=1e-6)
    assert run_model(session, {name: rows[:0] for name, rows in inputs.items()}).shape == (0, 64)
    with pytest.raises(FileNotFoundError, match="exports/onnx"):
        open_model(folder / "none.onnx")
    inputs["cont"][3, 2] = np.nan
    with pytest.raises(ValueError, match="64 of 320 values of 'embedding' are not finite"):
        run_model(session, inputs, 2)


def test_parity_measures_the_difference(models, tmp_path):
    folder, weights = models
    inputs = queries(4, np.random.default_rng(0))
    truth = linear_onnx.answer(weights["query_tower.onnx"], inputs).astype(np.float32)
    sample = {f"query_{name}": values for name, values in {**inputs, "embedding": truth}.items()}
    np.savez(tmp_path / "good.npz", **sample)
    assert parity.parity(folder / "query_tower.onnx", tmp_path / "good.npz") < 1e-6
    sample["query_embedding"] = truth + np.float32(0.01) * np.eye(4, 64, dtype=np.float32)
    np.savez(tmp_path / "off.npz", **sample)
    assert parity.parity(folder / "query_tower.onnx", tmp_path / "off.npz") == pytest.approx(
        0.01, abs=1e-5
    )


def test_parity_of_a_model_alone_and_of_a_wrong_sample(models, tmp_path):
    folder, weights = models
    rng = np.random.default_rng(0)
    inputs = {
        "cat": rng.integers(0, 6, (3, 9)).astype(np.int32),
        "cont": rng.standard_normal((3, 14)).astype(np.float32),
        "embeddings": rng.standard_normal((3, 128)).astype(np.float32),
    }
    truth = linear_onnx.answer(weights["dlrm.onnx"], inputs)
    np.savez(tmp_path / "parity.npz", **inputs, score=truth)
    assert parity.parity(folder / "dlrm.onnx", tmp_path / "parity.npz") < 1e-6
    np.savez(tmp_path / "shape.npz", **inputs, score=truth[:2])
    with pytest.raises(ValueError, match="score has shape"):
        parity.parity(folder / "dlrm.onnx", tmp_path / "shape.npz")
    with pytest.raises(KeyError, match="query_cat"):
        parity.parity(folder / "query_tower.onnx", tmp_path / "parity.npz")
