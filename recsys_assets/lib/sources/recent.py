"""Hold what every source reads: a visitor's latest clicks, and what all visitors click now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np

from recsys_assets.columns import VOCABULARY_START

#: No list: the counts of all visitors were not read yet, or no source reads them.
NOTHING_NOW: Mapping[int, np.ndarray] = MappingProxyType({})


@dataclass(frozen=True)
class Recent:
    """Holds the latest clicks of a visitor on items of the vocabulary, newest first."""

    rows: np.ndarray  # int64 [n], item 3 + row
    ages: np.ndarray  # float32 [n], hours
    #: half-life in hours → rows of the items that all visitors click now, int64, best first
    popular_now: Mapping[int, np.ndarray] = field(default_factory=lambda: NOTHING_NOW)

    @classmethod
    def of(
        cls,
        indices: np.ndarray,
        ages: np.ndarray,
        popular_now: Mapping[int, np.ndarray] = NOTHING_NOW,
    ) -> Recent:
        """Return the clicks on known items.

        Args:
            indices: int32 [n], Categorify indices, newest first; those below VOCABULARY_START are
                no items.
            ages: float32 [n], hours.
            popular_now: lists of the moment.
        """
        known = indices >= VOCABULARY_START
        return cls(indices[known].astype(np.int64) - VOCABULARY_START, ages[known], popular_now)

    def __len__(self) -> int:
        """Return the number of clicks."""
        return len(self.rows)

    @cached_property
    def places(self) -> np.ndarray:
        """Return the place of each click, int64 [n]; 0: the newest.

        Clicks of one age, such as the lines of an order, share a place: their order is unknown.
        """
        found = np.zeros(len(self), np.int64)
        np.cumsum(self.ages[1:] != self.ages[:-1], out=found[1:])
        return found

    @cached_property
    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the distinct rows, ascending, and the position of each click among them, int64."""
        if not len(self):
            return self.rows, self.rows
        ordered = np.sort(self.rows)
        found = ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])]
        return found, found.searchsorted(self.rows)

    def by_place(self, decay: float) -> np.ndarray:
        """Return the weights of the clicks, float32 [n]: ``decay`` per place."""
        return np.power(np.float32(decay), self.places.astype(np.float32))

    def by_age(self, half_life: float) -> np.ndarray:
        """Return the weights of the clicks, float32 [n]: halved per ``half_life`` hours.

        The newest weighs 1.
        """
        if not len(self):
            return np.zeros(0, np.float32)
        return np.asarray(np.exp2((self.ages[0] - self.ages) / np.float32(half_life)))
