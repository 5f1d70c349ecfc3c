"""Computes the metrics of the ranker; ``list_metrics`` has those of lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys_assets.lib.evaluation.measures import RankerFigures, ReliabilityBin


def rows_of(item_index: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the row of each wanted Categorify index, int [n], in ``item_index`` int [I].

    Raises:
        ValueError: ``item_index`` lacks one; the message names up to five.
    """
    order = np.argsort(item_index, kind="stable")
    position = np.minimum(np.searchsorted(item_index, wanted, sorter=order), len(order) - 1)
    rows = order[position]
    if (unknown := np.unique(wanted[item_index[rows] != wanted])).size:
        raise ValueError(
            f"{unknown.size} item indices have no vector, such as {unknown[:5].tolist()}; leave "
            "rows of items outside the catalogue out, or materialise retrieval/item_vectors again"
        )
    return rows


def auc(clicks: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve, the Mann-Whitney statistic; ties count half.

    Args:
        clicks: [N], 0 or 1.
        scores: [N].

    Raises:
        ValueError: rows are all clicked or all not, or a score is not finite.
    """
    clicks, scores = np.asarray(clicks).astype(bool), np.asarray(scores, np.float64)
    positives = int(clicks.sum())
    negatives = len(clicks) - positives
    if not positives or not negatives:
        raise ValueError(f"AUC needs clicked and unclicked rows; got {positives} and {negatives}")
    if not np.isfinite(scores).all():
        raise ValueError(
            f"{int((~np.isfinite(scores)).sum())} scores are not finite; the model diverged"
        )
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(sizes) - (sizes - 1) / 2
    return float(
        (mean_rank[group][clicks].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def log_loss(clicks: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean negative log likelihood, probabilities kept 1e-7 from 0 and 1."""
    p = np.clip(np.asarray(scores, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(np.asarray(clicks).astype(bool), np.log(p), np.log1p(-p))))


def reliability(clicks: np.ndarray, scores: np.ndarray, bins: int = 10) -> list[ReliabilityBin]:
    """Compare predicted and observed click rates in bins of equal count, lowest first.

    The bins have equal count because the scores of a click model lie close to the click rate.
    """
    order = np.argsort(scores, kind="stable")
    parts = [rows for rows in np.array_split(order, bins) if len(rows)]
    clicks, scores = np.asarray(clicks, np.float64), np.asarray(scores, np.float64)
    return [
        {
            "predicted": float(scores[rows].mean()),
            "observed": float(clicks[rows].mean()),
            "rows": len(rows),
        }
        for rows in parts
    ]


def calibration_error(table: Sequence[ReliabilityBin]) -> float:
    """Return the expected calibration error of a ``reliability`` table.

    It is the mean gap of the bins, weighted by rows (Naeini et al. 2015).
    """
    rows = sum(row["rows"] for row in table)
    return float(sum(row["rows"] * abs(row["predicted"] - row["observed"]) for row in table) / rows)


def one_class(clicks: np.ndarray) -> bool:
    """Return whether no row is clicked, or every one, as in a log without impressions.

    Such rows cannot tell a good ranker from a bad one.
    """
    return not 0 < np.count_nonzero(clicks) < len(clicks)


def ranking_metrics(clicks: np.ndarray, scores: np.ndarray) -> RankerFigures:
    """Return the figures of a ranker on N rows.

    Where the rows have ``one_class``, all are None except "click_rate" and "rows". Without rows,
    "click_rate" is None too.
    """
    rate = float(np.mean(clicks)) if len(clicks) else None
    if rate is None or one_class(clicks):
        return {
            "auc": None,
            "log_loss": None,
            "log_loss_of_mean": None,
            "calibration_error": None,
            "click_rate": rate,
            "rows": len(scores),
        }
    return {
        "auc": auc(clicks, scores),
        "log_loss": log_loss(clicks, scores),
        "log_loss_of_mean": log_loss(clicks, np.full(len(scores), rate)),
        "calibration_error": calibration_error(reliability(clicks, scores)),
        "click_rate": rate,
        "rows": len(scores),
    }
