"""Compares the AUC of two rankers on the same rows, with an interval clustered by visitor.

AUC is a mean over pairs of a clicked and an unclicked row. The part of each row in it has a closed
form (DeLong et al. 1988). The parts of one visitor are summed before their variance is taken
(Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data"). The interval is the limit
of a bootstrap by visitor. It needs no seed and O(N log N) time for N rows; 500 resamples of a large
day would take minutes.
"""

from __future__ import annotations

import numpy as np

from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.evaluation.ranker_metrics import auc

_NORMAL = 1.959964  # 97.5 % quantile


def auc_difference(
    clicks: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray, users: np.ndarray
) -> Estimate:
    """Return AUC of a − AUC of b on the same rows, with its 95 % interval.

    Args:
        clicks: [N], 0 or 1.
        scores_a: [N].
        scores_b: [N].
        users: [N], the visitor of each row.

    Raises:
        ValueError: rows are all clicked or all not, a score is not finite, or lengths differ.
    """
    if not len(clicks) == len(scores_a) == len(scores_b) == len(users):
        raise ValueError(
            f"{len(clicks)} clicks, {len(scores_a)} and {len(scores_b)} scores, {len(users)} "
            "users: give one of each per row"
        )
    value = auc(clicks, scores_a) - auc(clicks, scores_b)
    _, user = np.unique(users, return_inverse=True)
    parts = np.bincount(user, auc_parts(clicks, scores_a) - auc_parts(clicks, scores_b))
    visitors = len(parts)
    half = _NORMAL * np.sqrt((parts**2).sum() * visitors / max(visitors - 1, 1))
    return {"value": float(value), "low": float(value - half), "high": float(value + half)}


def auc_parts(clicks: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return each row's deviation from the AUC over the rows of its class, float64 [N].

    The deviations add up to 0.

    Args:
        clicks: [N], 0 or 1, not all equal.
        scores: [N], finite.
    """
    clicked, scores = np.asarray(clicks).astype(bool), np.asarray(scores, np.float64)
    positives, negatives = int(clicked.sum()), int((~clicked).sum())
    every, own = _mean_ranks(scores), np.empty(len(scores))
    own[clicked], own[~clicked] = _mean_ranks(scores[clicked]), _mean_ranks(scores[~clicked])
    # share of unclicked rows below a clicked row, of clicked rows above an unclicked one; ties
    # count half
    beaten = np.where(clicked, (every - own) / negatives, 1 - (every - own) / positives)
    parts: np.ndarray = (beaten - beaten[clicked].mean()) / np.where(clicked, positives, negatives)
    return parts


def _mean_ranks(scores: np.ndarray) -> np.ndarray:
    """Return ranks from 1, float64 [N]; equal scores share the mean of their ranks."""
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    return ranks
