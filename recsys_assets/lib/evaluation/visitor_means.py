"""Averages figures per visitor and then over visitors, with intervals by the bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys_assets.lib.evaluation.measures import Estimate


def visitor_means(
    rows: np.ndarray,
    users: Sequence[Any] | np.ndarray,
    seed: int,
    resamples: int,
    weights: np.ndarray | None = None,
) -> list[Estimate]:
    """Return the mean over users of each user's mean of values.

    Args:
        rows: float [metrics, Q].
        users: [Q], the visitor of each query.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        weights: float [Q], at least 0, of the queries of one user: each user counts once all the
            same, and one whose weights are all 0 not at all. None: all alike.

    Raises:
        ValueError: there is no query that counts, or not one user per query.
    """
    if not len(users) or rows.shape[1] != len(users):
        raise ValueError(
            f"{rows.shape[1]} ranks and {len(users)} users: give one user per rank, and at least "
            "one"
        )
    _, user = np.unique(np.asarray(users), return_inverse=True)
    counts = np.bincount(user, weights)
    counted = counts > 0
    if not counted.any():
        raise ValueError(f"the weights of {len(users)} queries are all 0: nothing can be averaged")
    if weights is not None:
        rows = rows * weights
    of_user = np.stack([np.bincount(user, values)[counted] / counts[counted] for values in rows])
    size = of_user.shape[1]
    rng = np.random.default_rng(seed)
    # each draw counts how often a user occurs in it; all metrics share it
    drawn = (np.bincount(rng.integers(size, size=size), minlength=size) for _ in range(resamples))
    means = np.stack([of_user @ times for times in drawn]) / size
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return [
        {"value": float(v), "low": float(lo), "high": float(hi)}
        for v, lo, hi in zip(of_user.mean(axis=1), low, high, strict=True)
    ]
