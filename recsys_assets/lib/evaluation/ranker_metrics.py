"""Metrics of the ranker, and the exported models run on whole tables.

Metrics of lists are in ``list_metrics``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def rows_of(item_index: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row of each wanted Categorify index in ``item_index`` int [I]; raises ValueError naming what
    it lacks.
    """
    order = np.argsort(item_index, kind="stable")
    position = np.minimum(np.searchsorted(item_index, wanted, sorter=order), len(order) - 1)
    rows = order[position]
    if (unknown := np.unique(wanted[item_index[rows] != wanted])).size:
        raise ValueError(
            f"{unknown.size} item indices have no vector, such as {unknown[:5].tolist()}; leave "
            "rows of "
            "items outside the catalogue out, or materialise retrieval/item_vectors again"
        )
    return rows


# --- ranking --------------------------------------------------------------------------------------
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
        raise ValueError(
            f"{int((~np.isfinite(scores)).sum())} scores are not finite; the model diverged"
        )
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(sizes) - (sizes - 1) / 2
    return float(
        (mean_rank[group][clicks].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def log_loss(clicks: np.ndarray, scores: np.ndarray) -> float:
    """Mean negative log likelihood; probabilities are kept 1e-7 away from 0 and 1."""
    p = np.clip(np.asarray(scores, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(np.asarray(clicks).astype(bool), np.log(p), np.log1p(-p))))


def reliability(clicks: np.ndarray, scores: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """Predicted against observed click rate in bins of equal count, lowest first: {"predicted",
    "observed", "rows"}.

    Equal count, because scores of a click model crowd near the click rate.
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


def calibration_error(table: Sequence[Mapping[str, float]]) -> float:
    """Expected calibration error of a ``reliability`` table (Naeini et al. 2015): mean gap,
    weighted by rows.
    """
    rows = sum(row["rows"] for row in table)
    return float(sum(row["rows"] * abs(row["predicted"] - row["observed"]) for row in table) / rows)


def clicks_alone(clicks: np.ndarray) -> bool:
    """Whether every row is clicked, as in a log without impressions: such rows cannot tell a good
    ranker from a bad one.
    """
    return bool(np.all(np.asarray(clicks) == 1))


def ranking_metrics(clicks: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """auc, log_loss, log_loss_of_mean (of always saying the click rate), calibration_error,
    click_rate, rows.

    Of ``clicks_alone`` there is nothing to say: None each, but the last two.
    """
    rate = float(np.mean(clicks))
    if clicks_alone(clicks):
        return {
            **dict.fromkeys(("auc", "log_loss", "log_loss_of_mean", "calibration_error")),
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


# --- the exported models --------------------------------------------------------------------------
