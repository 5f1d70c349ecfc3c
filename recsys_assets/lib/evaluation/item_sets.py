"""Holds a set of catalogue items for each query."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys_assets.artifacts import Artifact


@dataclass(frozen=True)
class ItemSets:
    """Holds the sets of Q queries."""

    start: np.ndarray  # int64 [Q + 1], bounds of each query's part of items
    items: np.ndarray  # int32 [...], catalogue rows

    def subset(self, rows: np.ndarray) -> ItemSets:
        """Return the sets of the queries ``rows``, int64 [n], alone."""
        size = self.start[rows + 1] - self.start[rows]
        start = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
        kept = np.repeat(self.start[rows] - start[:-1], size) + np.arange(start[-1])
        return ItemSets(start, self.items[kept])

    def held(self, lists: np.ndarray) -> np.ndarray:
        """Return which lists hold an item of their query's set, bool [Q].

        lists: int [Q, n], catalogue rows; -1: no item.
        """
        owner = np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))
        found = np.zeros(len(lists), bool)
        np.logical_or.at(found, owner, (lists[owner] == self.items[:, None]).any(axis=1))
        return found

    def write(self, path: Path) -> None:
        """Write a file that ``read`` reads."""
        np.savez(path, allow_pickle=False, start=self.start, items=self.items)

    @classmethod
    def read(cls, artifact: Artifact, name: str) -> ItemSets | None:
        """Read a file of an artifact; None where it has none."""
        if name not in artifact.manifest["files"]:
            return None
        with np.load(artifact.path(name), allow_pickle=False) as stored:
            return cls(stored["start"], stored["items"])
