"""Unite the lists of the sources, and order the union by weighted ranks.

The score of an item is Σ w_k · -log(1 + rank_k), with rank_k its place from 1 in the list of source
k. In a list that lacks it, an item has the place after the last that a list can have. Ranks and not
scores are added, because the scores of different sources have no common unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Items that each source lists, and that retrieval does, at most.
LISTED, RETRIEVED = 150, 400
_LOGS = -np.log(np.arange(RETRIEVED + 1) + 2).astype(np.float32)


@dataclass(frozen=True)
class Union:
    """Holds the items that some sources list, ascending, and their places."""

    items: np.ndarray  # int64 [N], rows of the vocabulary
    places: np.ndarray  # int64 [N, K], 0: first; the longest length of a list that lacks it
    listed: np.ndarray  # bool [N, K], whether the list has the item

    @classmethod
    def of(cls, lists: Sequence[np.ndarray], longest: Sequence[int]) -> Union:
        """Unite K lists, each without repetition and best first.

        longest: [K], items that each list can have.
        """
        items, at = np.unique(np.concatenate(lists), return_inverse=True)
        places = np.tile(np.asarray(longest, np.int64), (len(items), 1))
        listed = np.zeros(places.shape, bool)
        start = 0
        for source, one in enumerate(lists):
            of_list = at[start : start + len(one)]
            places[of_list, source], listed[of_list, source] = np.arange(len(one)), True
            start += len(one)
        return cls(items, places, listed)

    def scores(self, weights: np.ndarray) -> np.ndarray:
        """Return the score of each item, float32 [N]; weights: float [K]."""
        return np.asarray(logs(self.places) @ np.asarray(weights, np.float32))


def logs(places: np.ndarray) -> np.ndarray:
    """Return -log(1 + rank) of places from 0 to RETRIEVED, float32.

    >>> [round(value, 3) for value in logs(np.array([0, 1])).tolist()]
    [-0.693, -1.099]
    """
    found: np.ndarray = _LOGS[places]
    return found
