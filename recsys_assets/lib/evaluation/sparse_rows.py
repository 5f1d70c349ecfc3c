"""Selects entries of many rows at once."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp


def highest_per_row(matrix: sp.csr_matrix, most: int) -> sp.csr_matrix:
    """Return the ``most`` highest entries of each row, [N, M]; of equal ones, the first columns.

    Entries that are not stored do not count, so the highest must be above 0.

    >>> highest_per_row(sp.csr_matrix([[1.0, 3.0, 2.0], [0.0, 5.0, 0.0]]), 2).toarray().tolist()
    [[0.0, 3.0, 2.0], [0.0, 5.0, 0.0]]
    """
    size = np.diff(matrix.indptr)
    if size.max(initial=0) <= most:
        return matrix
    matrix.sort_indices()
    row = np.repeat(np.arange(len(size)), size)
    order = np.lexsort((-matrix.data, row))  # stable: equal entries stay in column order
    place = np.arange(len(order)) - np.repeat(matrix.indptr[:-1], size)
    kept = np.sort(order[place < most])
    indptr = np.concatenate([[0], np.cumsum(np.minimum(size, most))])
    return sp.csr_matrix((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)
