"""Metrics of the ranker, and the exported models run on whole tables.

Metrics of lists are in ``list_metrics``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets import columns as c


def rows_of(item_index: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row of each wanted Categorify index in ``item_index`` int [I]; raises ValueError naming what it lacks."""
    order = np.argsort(item_index, kind="stable")
    position = np.minimum(np.searchsorted(item_index, wanted, sorter=order), len(order) - 1)
    rows = order[position]
    if (unknown := np.unique(wanted[item_index[rows] != wanted])).size:
        raise ValueError(f"{unknown.size} item indices have no vector, such as {unknown[:5].tolist()}; leave rows of "
                         "items outside the catalogue out, or materialise retrieval/item_vectors again")
    return rows


# --- ranking -------------------------------------------------------------------------------------------------------
def auc(clicks: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve as the Mann-Whitney statistic; ties count half.

    Raises:
        ValueError: rows are all clicked or all not, or a score is not finite.
    """
    clicks, scores = np.asarray(clicks).astype(bool), np.asarray(scores, np.float64)
    positives = int(clicks.sum())
    negatives = len(clicks) - positives
    if not positives or not negatives:
        raise ValueError(f"AUC needs clicked and unclicked rows; got {positives} and {negatives}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum())} scores are not finite; the model diverged")
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(sizes) - (sizes - 1) / 2
    return float((mean_rank[group][clicks].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(clicks: np.ndarray, scores: np.ndarray) -> float:
    """Mean negative log likelihood; probabilities are kept 1e-7 away from 0 and 1."""
    p = np.clip(np.asarray(scores, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(np.asarray(clicks).astype(bool), np.log(p), np.log1p(-p))))


def reliability(clicks: np.ndarray, scores: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """Predicted against observed click rate in bins of equal count, lowest first: {"predicted", "observed", "rows"}.

    Equal count, because scores of a click model crowd near the click rate.
    """
    order = np.argsort(scores, kind="stable")
    parts = [rows for rows in np.array_split(order, bins) if len(rows)]
    clicks, scores = np.asarray(clicks, np.float64), np.asarray(scores, np.float64)
    return [{"predicted": float(scores[rows].mean()), "observed": float(clicks[rows].mean()), "rows": len(rows)}
            for rows in parts]


def calibration_error(table: Sequence[Mapping[str, float]]) -> float:
    """Expected calibration error of a ``reliability`` table (Naeini et al. 2015): mean gap, weighted by rows."""
    rows = sum(row["rows"] for row in table)
    return float(sum(row["rows"] * abs(row["predicted"] - row["observed"]) for row in table) / rows)


def clicks_alone(clicks: np.ndarray) -> bool:
    """Whether every row is clicked, as in a log without impressions: such rows cannot tell a good ranker from a bad one."""
    return bool(np.all(np.asarray(clicks) == 1))


def ranking_metrics(clicks: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """auc, log_loss, log_loss_of_mean (of always saying the click rate), calibration_error, click_rate, rows.

    Of ``clicks_alone`` there is nothing to say: None each, but the last two.
    """
    rate = float(np.mean(clicks))
    if clicks_alone(clicks):
        return {**dict.fromkeys(("auc", "log_loss", "log_loss_of_mean", "calibration_error")), "click_rate": rate, "rows": len(scores)}
    return {"auc": auc(clicks, scores), "log_loss": log_loss(clicks, scores),
            "log_loss_of_mean": log_loss(clicks, np.full(len(scores), rate)),
            "calibration_error": calibration_error(reliability(clicks, scores)), "click_rate": rate,
            "rows": len(scores)}


# --- the exported models -------------------------------------------------------------------------------------------
def open_model(onnx_path: Path) -> Any:
    """An onnxruntime session; raises FileNotFoundError naming the remedy."""
    import onnxruntime

    if not onnx_path.is_file():
        raise FileNotFoundError(f"{onnx_path} does not exist; materialise exports/onnx first")
    options = onnxruntime.SessionOptions()
    # waiting threads that spin cost as much time again, of a machine that has other work to do
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(onnx_path), options, providers=onnxruntime.get_available_providers())


def run_model(session: Any, inputs: Mapping[str, np.ndarray], batch: int = 16_384) -> np.ndarray:
    """The model's one output for rows of any number; inputs: ONNX input → its rows [N, …].

    Raises:
        ValueError: the output holds values that are not finite.
    """
    rows = len(next(iter(inputs.values())))
    parts = [session.run(None, {name: values[start:start + batch] for name, values in inputs.items()})[0]
             for start in range(0, max(rows, 1), batch)]
    answer = np.concatenate(parts)
    if not np.isfinite(answer).all():
        raise ValueError(f"{int((~np.isfinite(answer)).sum())} of {answer.size} values of {session.get_outputs()[0].name!r} are not "
                         "finite; the model diverged")
    return answer


def parity(onnx_path: Path, parity_npz: Path) -> float:
    """Largest absolute difference of onnxruntime's outputs from TensorFlow's on the sample that training wrote.

    The sample names each array as the model names its tensor; where it holds two towers, ``query_`` or ``item_``
    goes before, as in the file name ``query_tower.onnx``.

    Raises:
        KeyError: the sample lacks a tensor. ValueError: shapes differ or a value is not finite.
    """
    session = open_model(onnx_path)
    tower = onnx_path.stem.removesuffix("_tower")
    prefix = f"{tower}_" if tower != onnx_path.stem else ""
    with np.load(parity_npz, allow_pickle=False) as sample:
        tensors = [*session.get_inputs(), *session.get_outputs()]
        if lacking := [prefix + t.name for t in tensors if prefix + t.name not in sample]:
            raise KeyError(f"{parity_npz} lacks {lacking}; it holds {sorted(sample)}")
        outputs = session.run(None, {t.name: sample[prefix + t.name] for t in session.get_inputs()})
        difference = 0.0
        for tensor, output in zip(session.get_outputs(), outputs, strict=True):
            expected = sample[prefix + tensor.name]
            if output.shape != expected.shape:
                raise ValueError(f"{onnx_path.name}: {tensor.name} has shape {output.shape}, "
                                 f"TensorFlow gave {expected.shape}")
            if not np.isfinite(output).all():
                raise ValueError(f"{onnx_path.name}: {tensor.name} holds values that are not finite")
            difference = max(difference, float(np.abs(output.astype(np.float64) - expected).max()))
    return difference


def parts_parity(items: Path, lists: Path, parity_npz: Path) -> float:
    """The same of the ranker in two parts (``training.factored``), as it serves: each row of the sample as a list of its own.

    Raises:
        ValueError: a score is not finite.
    """
    of_items, of_lists = open_model(items), open_model(lists)
    with np.load(parity_npz, allow_pickle=False) as sample:
        cat, cont, embeddings, expected = (sample[name] for name in ("cat", "cont", "embeddings", "score"))
    visitor, numbers = len(c.QUERY_CATEGORICAL), len(c.QUERY_CONTINUOUS)
    known, vectors = of_items.run(["known", "vectors"], {"cat": cat[:, visitor:], "embeddings": embeddings})
    given = {"cat": cat[:, :visitor], "cont": cont[:, :numbers], "numbers": cont[:, numbers:], "known": known, "vectors": vectors}
    rows = [of_lists.run(None, {name: values[row:row + 1] for name, values in given.items()})[0] for row in range(len(cat))]
    scores = np.concatenate(rows)
    if not np.isfinite(scores).all():
        raise ValueError(f"{lists.name}: score holds values that are not finite")
    return float(np.abs(scores.astype(np.float64) - expected).max())
