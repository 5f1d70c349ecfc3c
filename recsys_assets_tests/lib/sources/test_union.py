"""The union of lists and its order by weighted ranks, by hand."""

from __future__ import annotations

import numpy as np

from recsys_assets.lib.sources.union import Union

LISTS = [np.array([7, 2, 5]), np.array([5]), np.zeros(0, np.int64)]


def test_places_of_the_union():
    union = Union.of(LISTS, [4, 9, 9])
    assert union.items.tolist() == [2, 5, 7]
    assert union.places.tolist() == [[1, 9, 9], [2, 0, 9], [0, 9, 9]]
    assert union.listed.tolist() == [
        [True, False, False],
        [True, True, False],
        [True, False, False],
    ]


def test_scores_are_weighted_logs_of_the_ranks():
    scores = Union.of(LISTS, [4, 9, 9]).scores(np.array([1.0, 0.5, 2.0]))
    expected = [
        -np.log(3) - 0.5 * np.log(11) - 2 * np.log(11),
        -np.log(4) - 0.5 * np.log(2) - 2 * np.log(11),
        -np.log(2) - 0.5 * np.log(11) - 2 * np.log(11),
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
