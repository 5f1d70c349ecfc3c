"""Blend what retrieval and the sources list into one ordered union."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys_assets.lib.sources.causes import NO_CAUSE, FromClicks
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import Source
from recsys_assets.lib.sources.union import LISTED, RETRIEVED, Joined, Union, best_first, logs
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
        found = Union.of(self._lists(recent, retrieved), self.longest)
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
        lists = self._lists(recent, retrieved)
        joined, tables = Joined.of(lists), self._tables
        nearest = np.full(len(joined.items), RETRIEVED)
        nearest[joined.at[: len(lists[0])]] = np.arange(len(lists[0]))
        # the tables of ``union``, filled with what its formulas give for a place
        ranked = tables.unlisted[: len(joined.items)].copy()
        young = self.young[joined.items].nonzero()[0]
        if len(young):
            near = logs(nearest[young])[:, None]
            ranked[young] = np.where(
                self._by_clicks, np.maximum(near, tables.unlisted[0]), tables.unlisted[0]
            )
        ranked.ravel()[joined.cell] = np.concatenate([tables.logs[: len(one)] for one in lists])
        owed = np.full(ranked.shape, -np.inf, np.float32)
        owed.ravel()[joined.cell] = np.concatenate(
            [one[: len(of)] for one, of in zip(tables.owed, lists, strict=True)]
        )
        scores = ranked @ tables.weights
        found_by = np.bincount(joined.at, tables.bits.repeat([len(one) for one in lists]))
        order = best_first(scores, nearest)
        return Blended(
            joined.items[order],
            scores[order],
            found_by[order].astype(np.int32),
            tables.code[owed.argmax(axis=1)[order]],
        )

    def causes(self, recent: Recent, items: np.ndarray, mostly: np.ndarray) -> np.ndarray:
        """Return the visitor's item to which each item owes most in one source, int64 [N].

        It is NO_CAUSE where the source does not list items for single clicks.

        Args:
            recent: of the visitor.
            items: int64 [N], rows of the vocabulary.
            mostly: int32 [N], the source of each item in ALL_SOURCES.
        """
        found = np.full(len(items), NO_CAUSE, np.int64)
        for source in self.sources:
            owing = (mostly == ALL_SOURCES.index(source.name)).nonzero()[0]
            if len(owing) and isinstance(source, FromClicks):
                found[owing] = source.cause(recent, items[owing])
        return found

    def _lists(self, recent: Recent, retrieved: np.ndarray) -> list[np.ndarray]:
        """Return the lists in the order of ``names``."""
        return [retrieved[:RETRIEVED], *(one.best(recent, LISTED) for one in self.sources)]

    @cached_property
    def _tables(self) -> _Tables:
        return _Tables.of(self)

    @cached_property
    def _by_clicks(self) -> np.ndarray:
        """Return which lists go by clicks, bool [K]."""
        return np.array([name in BY_CLICKS for name in self.names])


@dataclass(frozen=True)
class _Tables:
    """Holds what a blend needs for every visitor, by list k and place."""

    weights: np.ndarray  # float32 [K]
    code: np.ndarray  # int32 [K], place of the source in ALL_SOURCES
    bits: np.ndarray  # float64 [K], 2 ** code: its sums are exact
    logs: np.ndarray  # float32 [RETRIEVED], of a place
    unlisted: np.ndarray  # float32 [most items, K], of the place of an item that list k lacks
    owed: tuple[np.ndarray, ...]  # K of float32 [longest of k]: w_k above that of ``unlisted``

    @classmethod
    def of(cls, blend: Blend) -> _Tables:
        """Compute the tables."""
        weights = np.array([blend.weights[name] for name in blend.names], np.float32)
        code = np.array([ALL_SOURCES.index(name) for name in blend.names], np.int32)
        of_place, least = logs(np.arange(RETRIEVED)), logs(np.array(blend.longest))
        owed = zip(weights, least, blend.longest, strict=True)
        return cls(
            weights,
            code,
            (1 << code).astype(np.float64),
            of_place,
            np.tile(least, (sum(blend.longest), 1)),
            tuple(weight * (of_place[:longest] - low) for weight, low, longest in owed),
        )
