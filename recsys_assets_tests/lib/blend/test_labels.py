"""ClickLabels: ranks of the clicked items, and what is left without a source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.source_names import FOLLOW_UPS, IALS, RETRIEVAL
from recsys_assets_tests.support import small_labels


def test_ranks_break_ties_by_retrieval():
    labels = small_labels.labels(clicks=50, weights=(1.0, 0.0, 0.0))
    tied = labels.ranks(np.zeros(len(labels.rows), np.float32))
    np.testing.assert_array_equal(tied, labels.ranks(labels.logs[:, 0]))
    assert tied.min() == 1 and tied.max() <= 12


def test_a_click_that_no_list_has_comes_after_the_catalogue():
    labels = ClickLabels(
        (RETRIEVAL,),
        np.array([0, 2]),
        np.array([4, 5]),
        np.zeros((2, 1), np.float32),
        np.ones((2, 1), bool),
        np.array([False, False]),
        np.array([0]),
        np.array([0]),
        items=9,
        more=np.zeros((2, 5), np.float32),
    )
    assert labels.ranks(np.zeros(2)).tolist() == [10]


def test_without_a_source_the_items_that_it_alone_lists_are_gone():
    whole = small_labels.labels(clicks=2, weights=(1.0, 0.0, 0.0), items=3)
    listed = np.ones((6, 3), bool)
    listed[1, [0, 2]] = False
    labels = replace(whole, listed=listed)
    less = labels.without(FOLLOW_UPS)
    assert less.names == (RETRIEVAL, IALS) and less.start.tolist() == [0, 2, 5]
    assert less.rows.tolist() == [0, 2, 0, 1, 2]
    np.testing.assert_array_equal(less.logs, whole.logs[[0, 2, 3, 4, 5]][:, [0, 2]])


def test_the_first_queries():
    labels = small_labels.labels(clicks=9, weights=(1.0, 0.0, 0.0))
    few = labels.first(4)
    assert len(few) == 4 and len(few.rows) == 4 * 12
    np.testing.assert_array_equal(few.ranks(few.logs[:, 1]), labels.ranks(labels.logs[:, 1])[:4])
    assert len(labels.first(99)) == 9
