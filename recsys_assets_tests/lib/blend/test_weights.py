"""Weights of a blend: the default by hand, and a fit that finds what made the clicks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from recsys_assets.lib.blend import weights as w
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets_tests.support import small_labels


def test_the_default_is_a_softmax_of_what_each_list_does_alone():
    labels = small_labels.labels(clicks=300, weights=(2.0, 0.5, 0.0))
    everyone = np.ones(len(labels), bool)
    figures = [
        w.ndcg(labels.ranks(labels.logs[:, k]), labels.users) for k in range(len(labels.names))
    ]
    relative = (300 * np.array(figures) / max(figures) + 100) / 400
    expected = np.exp(relative / 0.1) / np.exp(relative / 0.1).sum()
    np.testing.assert_allclose(w.by_quality(labels, everyone), expected, rtol=1e-6)


def test_without_clicks_all_lists_weigh_the_same():
    labels = small_labels.labels(clicks=30, weights=(2.0, 0.5, 0.0))
    nobody = np.zeros(len(labels), bool)
    np.testing.assert_allclose(w.by_quality(labels, nobody), 1 / 3, rtol=1e-6)
    np.testing.assert_array_equal(w.listwise(labels, nobody), w.by_quality(labels, nobody))


def test_the_fit_finds_the_weights_that_made_the_clicks():
    labels = small_labels.labels(clicks=6_000, weights=(1.5, 0.5, -0.5))
    everyone = np.ones(len(labels), bool)
    found = w.fit_listwise(labels, labels.logs, np.zeros(3), everyone, l2=1e-3)
    np.testing.assert_allclose(found, [1.5, 0.5, -0.5], atol=0.1)


def test_the_fit_is_the_minimum_of_the_loss():
    labels = small_labels.labels(clicks=200, weights=(1.0, 0.0, 0.3))
    everyone, prior = np.ones(len(labels), bool), np.array([0.5, 0.2, 0.1])

    def loss(weights: np.ndarray) -> float:
        score = labels.logs.astype(np.float64) @ weights
        total = 0.0
        count = np.bincount(labels.users)
        for n in range(len(labels)):
            part = slice(labels.start[n], labels.start[n + 1])
            own = score[part][labels.hit[part]]
            total += (np.log(np.exp(score[part]).sum()) - own[0]) / count[labels.users[n]]
        return total + 10.0 * ((weights - prior) ** 2).sum()

    expected = minimize(loss, prior).x
    found = w.fit_listwise(labels, labels.logs, prior, everyone)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_few_clicks_leave_the_fit_near_the_default():
    labels = small_labels.labels(clicks=4, weights=(5.0, 0.0, 0.0))
    everyone, prior = np.ones(len(labels), bool), np.array([0.0, 0.0, 1.0])
    found = w.fit_listwise(labels, labels.logs, prior, everyone)
    assert np.abs(found - prior).max() < 0.3


def test_a_fold_is_judged_by_weights_of_the_others():
    labels = small_labels.labels(clicks=400, weights=(1.5, 0.5, 0.0))
    learned: list[np.ndarray] = []

    def fit(given, queries):
        learned.append(queries)
        return np.array([1.0, 0.0, 0.0]) if queries[labels.fold == 0].any() else np.zeros(3)

    ranks = w.cross_fitted(labels, labels.logs, fit)
    assert [np.unique(labels.fold[one]).tolist() for one in learned] == [[1], [0]]
    expected = labels.ranks(labels.logs[:, 0])
    np.testing.assert_array_equal(ranks[labels.fold == 1], expected[labels.fold == 1])


@pytest.mark.parametrize("clicks", [0, 1])
def test_ndcg_of_no_and_of_one_click(clicks):
    assert w.ndcg(np.full(clicks, 3), np.zeros(clicks, np.int64)) == clicks * 0.5


def valued(clicks: int = 800) -> ClickLabels:
    """Even queries click as the first list says and are worth 1, odd ones as the second, worth 10.

    Each visitor has four clicks.
    """
    first = small_labels.labels(clicks, (3.0, 0.0, 0.0), seed=3)
    second = small_labels.labels(clicks, (0.0, 3.0, 0.0), seed=3)
    odd = np.arange(clicks) % 2 == 1
    user = np.arange(clicks) // 4
    return replace(
        first,
        hit=np.where(odd[first.query], second.hit, first.hit),
        users=user,
        fold=user % 2,
        value=np.where(odd, 10.0, 1.0),
    )


def test_values_draw_the_weights_to_the_list_of_the_valued_clicks():
    labels = valued()
    plain = replace(labels, value=None)
    for fit in (w.by_quality, w.listwise):
        with_values, without = (w.cross_fitted(one, one.logs, fit) for one in (labels, plain))
        assert w.ndcg_of(labels, with_values) > w.ndcg_of(labels, without) + 0.01, fit
        assert w.ndcg_of(plain, with_values) <= w.ndcg_of(plain, without), fit


def test_equal_values_give_the_weights_without_values():
    labels = valued()
    everyone = np.ones(len(labels), bool)
    same, plain = replace(labels, value=np.full(len(labels), 7.0)), replace(labels, value=None)
    for fit in (w.by_quality, w.listwise):
        np.testing.assert_allclose(fit(same, everyone), fit(plain, everyone), rtol=1e-6)


def test_the_weights_of_a_visitors_clicks_sum_up_to_1_and_are_as_their_values():
    labels = replace(valued(clicks=8), value=np.array([1.0, 3, 0, 0, 2, 2, 2, 2]))
    rows = np.flatnonzero(labels.value > 0)
    np.testing.assert_allclose(labels.weights(rows), [0.25, 0.75, 0.25, 0.25, 0.25, 0.25])
    assert not labels.learnable[2:4].any()
    assert w.ndcg(np.ones(2, int), np.zeros(2, int), np.zeros(2)) == 0.0
