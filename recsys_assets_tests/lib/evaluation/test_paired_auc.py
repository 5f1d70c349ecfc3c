"""Against the bootstrap that it stands for, and the AUC that it is of."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from recsys_assets.lib.evaluation.paired_auc import auc_difference, auc_parts


def visits(users: int, rows: int, seed: int = 4, noise: float = 0.3):
    """Clicks and two scores; a visitor's rows share a whim that one of the scores knows."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rows)
    truth, whim = rng.standard_normal(users * rows), np.repeat(rng.standard_normal(users), rows)
    clicks = (rng.random(len(user)) < 1 / (1 + np.exp(1 - truth - whim))).astype(int)
    return clicks, np.round(truth + whim, 1), truth + noise * rng.standard_normal(len(user)), user


def test_the_difference_and_its_interval_are_the_bootstraps():
    clicks, a, b, user = visits(200, 8)
    found = auc_difference(clicks, a, b, user)
    assert found["value"] == pytest.approx(roc_auc_score(clicks, a) - roc_auc_score(clicks, b))
    rng, drawn = np.random.default_rng(0), []
    for _ in range(400):
        rows = (rng.integers(200, size=200)[:, None] * 8 + np.arange(8)).ravel()
        drawn.append(roc_auc_score(clicks[rows], a[rows]) - roc_auc_score(clicks[rows], b[rows]))
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.12)
    alone = auc_difference(clicks, a, b, np.arange(len(user)))
    assert alone["high"] - alone["low"] < 0.9 * (
        found["high"] - found["low"]
    )  # rows that are not independent tell less


def test_parts_are_the_rows_own():
    clicks, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1])
    # AUC 7/8: the clicked rows beat 1 and 3/4 of the others, the others lose to 3/4 and 1
    np.testing.assert_allclose(
        auc_parts(clicks, scores),
        np.array([1 - 7 / 8, 3 / 4 - 7 / 8, 3 / 4 - 7 / 8, 1 - 7 / 8]) / 2,
    )


def test_equal_scores_do_not_differ():
    clicks, a, _, user = visits(50, 4)
    assert auc_difference(clicks, a, a, user) == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert auc_difference(clicks, a, 3 * a - 1, user) == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_what_has_no_auc_is_refused():
    with pytest.raises(ValueError, match="needs clicked and unclicked rows"):
        auc_difference(np.ones(3), np.arange(3), np.arange(3), np.arange(3))
    with pytest.raises(ValueError, match="not finite"):
        auc_difference(np.array([1, 0, 1]), np.array([1, np.nan, 0]), np.arange(3), np.arange(3))
    with pytest.raises(ValueError, match="one of each per row"):
        auc_difference(np.array([1, 0]), np.arange(2), np.arange(3), np.arange(2))
