"""Reads and writes the split of a shop, the file between the two environments.

It holds clicks and queries, and not which items were clicked at the queries: the lists are judged
outside.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class SplitFile:
    """Holds C clicks of known visitors on I items, and Q queries.

    The clicks are ordered by visitor and time. They reach up to the last query.
    """

    visitor: np.ndarray  # int64 [C]
    item: np.ndarray  # int64 [C], row of the catalogue
    time: np.ndarray  # int64 [C], unix seconds
    training: np.ndarray  # bool [C], clicks of the training days
    #: int64 [Q] each: the range of clicks of the query's visitor, strictly before the query
    start: np.ndarray
    end: np.ndarray
    #: int64 [Q + 1] and int32 [...]: bounds of each query's part of the items that are not shown
    hidden_start: np.ndarray
    hidden_item: np.ndarray
    items: np.ndarray  # int64 [], number of items of the catalogue

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.start)

    @classmethod
    def read(cls, path: Path) -> SplitFile:
        """Read a file of ``write``."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(**{field.name: stored[field.name] for field in fields(cls)})

    def write(self, path: Path) -> None:
        """Write all arrays into one npz file."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    def hidden(self, row: int) -> np.ndarray:
        """Return the items that the list of a query does not show."""
        found: np.ndarray = self.hidden_item[self.hidden_start[row] : self.hidden_start[row + 1]]
        return found

    def clicks_before(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the clicks that the queries ``rows``, int64 [n], are answered from.

        Returns:
            place in ``rows`` and position of each click, int64 [m] each; oldest first per query.
        """
        size = self.end[rows] - self.start[rows]
        first = np.cumsum(size) - size
        owner = np.repeat(np.arange(len(rows)), size)
        position = np.arange(size.sum()) + np.repeat(self.start[rows] - first, size)
        return owner, position
