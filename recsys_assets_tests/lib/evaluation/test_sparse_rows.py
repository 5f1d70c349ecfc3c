"""Entries of many rows at once, against a loop over the rows."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_assets.lib.evaluation.sparse_rows import highest_per_row
from recsys_assets.lib.features.click_ranges import unroll


@pytest.mark.parametrize("most", [1, 3, 12])
def test_the_highest_of_each_row_stay_and_equal_ones_in_column_order(most):
    rng = np.random.default_rng(1)
    dense = rng.integers(0, 4, (9, 12)).astype(np.float32)
    dense[4] = 0
    expected = np.zeros_like(dense)
    for row, kept in zip(dense, expected, strict=True):
        for column in sorted(np.flatnonzero(row), key=lambda n, row=row: (-row[n], n))[:most]:
            kept[column] = row[column]
    np.testing.assert_array_equal(highest_per_row(sp.csr_matrix(dense), most).toarray(), expected)


def test_rows_need_not_be_sorted():
    unsorted = sp.csr_matrix(
        (np.array([2.0, 2.0, 1.0]), np.array([2, 0, 1]), np.array([0, 3])), shape=(1, 3)
    )
    assert highest_per_row(unsorted, 1).toarray().tolist() == [[2.0, 0.0, 0.0]]


def test_no_row_and_empty_ranges():
    assert highest_per_row(sp.csr_matrix((0, 5)), 2).shape == (0, 5)
    owner, position = unroll(np.array([7, 3, 0]), np.array([7, 5, 1]))
    assert owner.tolist() == [1, 1, 2] and position.tolist() == [3, 4, 0]
