"""Find the visitor's own item to which a source owes an item that it lists.

An explanation computes this on demand. A recommendation does not.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from recsys_assets.lib.sources.recent import Recent

#: The row where no item of the visitor contributes.
NO_CAUSE = -1


@runtime_checkable
class FromClicks(Protocol):
    """Lists items for single clicks of the visitor."""

    def cause(self, recent: Recent, items: np.ndarray) -> np.ndarray:
        """Return the row of the visitor's item that contributes most to each item, int64 [M].

        It is NO_CAUSE where none contributes more than 0.

        Args:
            recent: of the visitor.
            items: int64 [M], rows of the vocabulary.
        """


def strongest(recent: Recent, contributions: np.ndarray) -> np.ndarray:
    """Return the visitor's item of the highest sum of contributions, rows int64 [M].

    The clicks on one item are added. Of equal items, the one that was clicked last is taken. It is
    NO_CAUSE where no sum is above 0.

    Args:
        recent: n clicks.
        contributions: float [n, M], of each click to each item.

    >>> mine = Recent(np.array([7, 4, 7]), np.zeros(3, np.float32))
    >>> strongest(mine, np.array([[1.0, 0.0], [1.5, 0.0], [1.0, 0.0]])).tolist()
    [7, -1]
    """
    if not len(recent):
        return np.full(contributions.shape[1], NO_CAUSE, np.int64)
    rows, newest, at = np.unique(recent.rows, return_index=True, return_inverse=True)
    sums = np.zeros((len(rows), contributions.shape[1]))
    np.add.at(sums, at, contributions)
    by_time = newest.argsort()
    best = by_time[sums[by_time].argmax(axis=0)]
    highest = sums[best, np.arange(sums.shape[1])]
    return np.where(highest > 0, rows[best], NO_CAUSE)
