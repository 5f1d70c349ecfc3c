"""Translates between the items of two orders, such as a vocabulary and the catalogue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def rows_in(items: Sequence[str] | np.ndarray, item_ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """Return the row in ``item_ids`` of each of ``items``, int64; -1: it has none.

    >>> rows_in(["b", "gone"], ["a", "b"]).tolist()
    [1, -1]
    """
    row = {item: n for n, item in enumerate(np.asarray(item_ids).tolist())}
    return np.array([row.get(item, -1) for item in np.asarray(items).tolist()], np.int64)


def inverse(rows: np.ndarray, size: int) -> np.ndarray:
    """Return the position of each row in ``rows``, int64 [size]; -1: it is not there.

    >>> inverse(np.array([2, -1, 0]), 3).tolist()
    [2, -1, 0]
    """
    found = np.full(size, -1, np.int64)
    found[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    return found
