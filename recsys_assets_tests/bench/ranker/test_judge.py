"""How a ranker's scores are judged beside what serves."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.bench.ranker.judge import blended_ranks, default_ranks, judge, mean_scores
from recsys_assets.lib.blend import weights as w
from recsys_assets.lib.blend.choice import from_one_first
from recsys_assets_tests.support.small_labels import labels


def test_a_ranker_that_knows_is_above_and_one_of_chance_adds_nothing() -> None:
    found = labels(clicks=800, weights=(0.0, 1.0, 0.0))
    rng = np.random.default_rng(1)
    chance = rng.normal(size=len(found.rows)).astype(np.float32)
    knowing = chance + 3 * found.hit
    (without,) = blended_ranks(found, np.zeros_like(chance))
    others = {"base": without, "all_lists": default_ranks(found)}
    better = judge(found, blended_ranks(found, knowing)[0], others, seed=1)["minus"]
    same = judge(found, blended_ranks(found, chance)[0], others, seed=1)["minus"]
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


def test_ranks_are_cross_fitted_and_others_share_the_weights() -> None:
    found = labels(clicks=300, weights=(0.0, 1.0, 0.0), users=80)
    rng = np.random.default_rng(3)
    scores = (rng.normal(size=len(found.rows)) + found.hit).astype(np.float32)
    other = rng.normal(size=len(found.rows)).astype(np.float32)
    inputs = np.concatenate([scores[:, None], found.logs], axis=1)
    first, second, again = blended_ranks(found, scores, [other, scores])
    np.testing.assert_array_equal(first, w.cross_fitted(found, inputs, from_one_first(inputs)))
    np.testing.assert_array_equal(first, again)
    assert w.ndcg(second, found.users) < w.ndcg(first, found.users)
