"""Bounds of chance, against what scores without signal give."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.lib.evaluation.chance import chance_auc, chance_recall
from recsys_assets.lib.evaluation.ranker_metrics import auc


@pytest.mark.parametrize(("clicked", "unclicked"), [(15, 40), (50, 50), (40, 800)])
def test_one_of_twenty_rankers_without_signal_is_above_the_bound(clicked, unclicked):
    rng = np.random.default_rng(clicked)
    clicks = np.arange(clicked + unclicked) < clicked
    found = np.array([auc(clicks, rng.random(len(clicks))) for _ in range(2_000)])
    assert (found > chance_auc(clicked, unclicked)).mean() == pytest.approx(0.05, abs=0.015)


def test_one_of_twenty_random_lists_is_above_the_bound():
    hits = np.random.default_rng(1).binomial(2_000, 0.1, 20_000) / 2_000
    assert (hits > chance_recall(0.1, 2_000)).mean() == pytest.approx(0.05, abs=0.01)


def test_the_bound_is_wider_with_fewer_rows_and_all_without():
    assert chance_auc(50, 50) > chance_auc(500, 500) > chance_auc(5_000, 5_000) > 0.5
    assert chance_auc(0, 100) == chance_auc(100, 0) == 1.0
    assert chance_recall(0.1, 10) > chance_recall(0.1, 100) > 0.1
    assert chance_recall(0.1, 0) == 1.0
