"""How a ranker's scores are judged beside what serves."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.bench.ranker.judge import blended_ranks, default_ranks, judge, mean_scores
from recsys_assets_tests.support.small_labels import labels


def test_a_ranker_that_knows_is_above_and_one_of_chance_adds_nothing() -> None:
    found = labels(clicks=800, weights=(0.0, 1.0, 0.0))
    rng = np.random.default_rng(1)
    chance = rng.normal(size=len(found.rows)).astype(np.float32)
    knowing = chance + 3 * found.hit
    without = blended_ranks(found, np.zeros_like(chance))
    others = {"base": without, "all_lists": default_ranks(found)}
    better = judge(found, blended_ranks(found, knowing), others, seed=1)["minus"]
    same = judge(found, blended_ranks(found, chance), others, seed=1)["minus"]
    assert better["base"]["low"] > 0.05 and better["all_lists"]["low"] > 0.05
    assert same["base"]["low"] < 0 and abs(same["base"]["value"]) < 0.03


def test_the_mean_is_that_of_shares() -> None:
    found = labels(clicks=5, weights=(0.0, 1.0, 0.0), items=4)
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 20)).astype(np.float32)
    shifted = second + np.repeat([100.0, -7, 0, 3, 50], 4)  # a list's origin does not matter
    np.testing.assert_allclose(
        mean_scores(found, [first, shifted]), mean_scores(found, [first, second]), atol=1e-4
    )
    alone = mean_scores(found, [first]).reshape(5, 4)
    assert np.exp(alone).sum(axis=1) == pytest.approx(np.ones(5), abs=1e-5)
