"""Define the source of the item-to-item rung: the factors of the items' cosines, and popularity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_assets.lib.sources.causes import strongest
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import highest
from recsys_assets.source_names import ITEM_TO_ITEM


@dataclass(frozen=True)
class CosineFactors:
    """Sums the factors of the visitor's clicked items, and lists the nearest items.

    With v_i the factors of item i and p_i its popularity, the score of an item is
    w p_i + Σ 2^(-age / half-life) v_c · v_i over the clicks c; see ``lib/ladder/item_to_item.py``.
    """

    vectors: np.ndarray  # float32 [I, 1 + F]: popularity, then the factors
    popularity: float  # weight of popularity in a score
    half_life: float  # hours
    name: str = ITEM_TO_ITEM

    def best(self, recent: Recent, most: int) -> np.ndarray:
        """Return the items of the highest scores above 0; of equal ones, the first rows.

        A visitor without clicks gets none: their list would be that of the most popular items.
        """
        if not len(recent):
            return np.zeros(0, np.int64)
        visitor = self._of_clicks(recent) @ self.vectors.take(recent.rows, axis=0)
        visitor[0] = self.popularity  # what clicks add there is the popularity of their items
        return highest(None, self.vectors @ visitor, most)

    def cause(self, recent: Recent, items: np.ndarray) -> np.ndarray:
        """Return the visitor's item that adds most to the score of each item; see ``FromClicks``.

        Popularity is no click and takes no part.
        """
        own, wanted = (self.vectors.take(rows, axis=0)[:, 1:] for rows in (recent.rows, items))
        return strongest(recent, (own @ wanted.T) * self._of_clicks(recent)[:, None])

    def _of_clicks(self, recent: Recent) -> np.ndarray:
        """Return the weights of the clicks, float32 [n].

        A click weighs by its own age, not by that relative to the newest: popularity counts more
        for a visitor who was away.
        """
        return np.asarray(np.exp2(-recent.ages / np.float32(self.half_life)))
