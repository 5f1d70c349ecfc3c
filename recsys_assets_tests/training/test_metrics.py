"""Metrics of the training steps against slow, obvious versions of themselves."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from recsys_assets.training import metrics


def test_docstring_examples() -> None:
    assert doctest.testmod(metrics).failed == 0


def test_auc_counts_pairs_and_halves_ties() -> None:
    random = np.random.default_rng(1)
    labels, scores = random.integers(0, 2, 200), random.integers(0, 20, 200) / 20
    positive, negative = scores[labels == 1][:, None], scores[labels == 0]
    assert metrics.auc(labels, scores) == pytest.approx(
        np.mean((positive > negative) + 0.5 * (positive == negative))
    )


def test_auc_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="clicked and not clicked"):
        metrics.auc(np.ones(3), np.arange(3.0))


def test_clicked_ranks_against_a_full_sort_in_any_order_of_the_index() -> None:
    random = np.random.default_rng(2)
    queries, items = random.normal(size=(50, 8)), random.normal(size=(30, 8))
    index = random.permutation(np.arange(3, 33))
    clicked = random.choice(index, 50)
    order = index[np.argsort(-(queries @ items.T), axis=1)]
    expected = [list(row).index(item) for row, item in zip(order, clicked, strict=True)]
    assert metrics.clicked_ranks(queries, items, index, clicked, chunk=7).tolist() == expected


def test_a_model_that_cannot_tell_items_apart_and_an_unknown_item_gain_nothing() -> None:
    index = np.array([3, 4, 5])
    ranks = metrics.clicked_ranks(np.ones((2, 4)), np.ones((3, 4)), index, np.array([4, 2]))
    assert ranks.tolist() == [2, 3]
    assert metrics.recall(ranks, 2) == 0.0


def test_popularity_ranks_the_most_clicked_first() -> None:
    counts = np.array([0, 0, 9, 1, 5, 3])  # index 2 is out of the vocabulary: it is no item
    assert metrics.popularity_ranks(counts, np.array([5, 4, 3]), np.array([4, 5, 3])).tolist() == [
        0,
        1,
        2,
    ]
