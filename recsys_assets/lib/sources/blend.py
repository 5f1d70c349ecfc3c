"""Blend what retrieval and the sources list into one ordered union."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import Source
from recsys_assets.lib.sources.union import LISTED, RETRIEVED, Union, logs
from recsys_assets.source_names import ALL_SOURCES, BY_CLICKS, RETRIEVAL

#: Candidates beyond RETRIEVAL_TOPK that retrieval finds, because the filter drops what the visitor
#: has seen.
OVER_FETCH = 100


def retrieved_items(retrieval_topk: int) -> int:
    """Return the number of items that retrieval hands on, seen or not."""
    return min(RETRIEVED, retrieval_topk + OVER_FETCH)


@dataclass(frozen=True)
class Blended:
    """Holds the candidates of one visitor, best first."""

    rows: np.ndarray  # int64 [N], of the vocabulary
    scores: np.ndarray  # float32 [N]
    found_by: np.ndarray  # int32 [N], bit k: source ALL_SOURCES[k] lists the item
    mostly: np.ndarray  # int32 [N], the source in ALL_SOURCES to which the item owes most


@dataclass(frozen=True)
class Blend:
    """Holds the sources of a release and their weights."""

    sources: tuple[Source, ...]
    weights: Mapping[str, float]  # of RETRIEVAL and of every source
    #: bool [I], items with too few clicks to be judged by them: in the lists that go by clicks,
    #: they have their place in the list of retrieval
    young: np.ndarray

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names in the order of a union's columns."""
        return (RETRIEVAL, *(source.name for source in self.sources))

    @cached_property
    def half_lives(self) -> tuple[int, ...]:
        """Half-lives in hours of the lists of a moment that its sources read."""
        return tuple(one.half_life for one in self.sources if isinstance(one, PopularNow))

    @cached_property
    def longest(self) -> tuple[int, ...]:
        """Items that each list can have, in the order of ``names``."""
        return (RETRIEVED, *(LISTED for _ in self.sources))

    def union(self, recent: Recent, retrieved: np.ndarray) -> Union:
        """Return the union of all lists.

        Args:
            recent: of the visitor.
            retrieved: int64 [N], rows of the items that retrieval found, best first.
        """
        lists = [retrieved[:RETRIEVED], *(one.best(recent, LISTED) for one in self.sources)]
        found = Union.of(lists, self.longest)
        young = self.young[found.items]
        if not young.any():
            return found
        moved = ~found.listed & self._by_clicks & young[:, None]
        near = np.minimum(found.places[:, :1], self.longest)
        places = np.where(moved, near, found.places)
        return Union(found.items, places, found.listed)

    def of(self, recent: Recent, retrieved: np.ndarray) -> Blended:
        """Return the ordered union; see ``union``.

        Of equal items, the one that is nearer in retrieval comes first, then the lower row.
        """
        found = self.union(recent, retrieved)
        weights, code, least = self._constants
        ranked = logs(found.places)
        scores = ranked @ weights
        order = np.lexsort((found.items, found.places[:, 0], -scores))
        # what the item owes to each list: the weight of its place above having none
        owed = np.where(found.listed, weights * (ranked - least), -np.inf)
        bits = found.listed @ (1 << code)
        return Blended(
            found.items[order],
            scores[order],
            bits[order].astype(np.int32),
            code[owed.argmax(axis=1)][order].astype(np.int32),
        )

    @cached_property
    def _constants(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights float32 [K], codes int64 [K], and the lowest -log(1 + rank) float32 [K]."""
        return (
            np.array([self.weights[name] for name in self.names], np.float32),
            np.array([ALL_SOURCES.index(name) for name in self.names]),
            logs(np.array(self.longest)),
        )

    @cached_property
    def _by_clicks(self) -> np.ndarray:
        """Return which lists go by clicks, bool [K]."""
        return np.array([name in BY_CLICKS for name in self.names])
