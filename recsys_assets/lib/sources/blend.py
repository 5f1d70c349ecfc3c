"""Blend what retrieval and the sources list into one ordered union."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys_assets.lib.sources.causes import NO_CAUSE, FromClicks
from recsys_assets.lib.sources.list_net import OF_VISITOR, ListNet, write_of_visitor
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import Source, Young
from recsys_assets.lib.sources.union import (
    LISTED,
    POSITIONS,
    RETRIEVED,
    Union,
    best_first,
    distinct,
    logs,
)
from recsys_assets.source_names import ALL_SOURCES, BY_CLICKS, RETRIEVAL, YOUNG_ITEMS

#: Young items that are candidates of every visitor where new items have places: twice the places of
#: a list of 100.
RESERVED = 20
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


@dataclass(frozen=True)
class Owed:
    """Holds to which sources the candidates of a visitor are owed."""

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
    new_item_places: int = 0  # one place in so many is reserved for young items; 0: none
    net: ListNet | None = None  # adds to the weighted ranks; None: they alone order the union

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

        Of equal items, the one that is nearer in retrieval comes first, then the lower row. Where
        new items have places, RESERVED young items come before all others whatever their scores,
        so that they are among the candidates that the ranker gets.
        """
        lists = self._lists(recent, retrieved)
        size = [len(one) for one in lists]
        items, at = distinct(np.concatenate(lists))
        nearest = np.full(len(items), RETRIEVED)
        nearest[at[: size[0]]] = POSITIONS[: size[0]]
        young = self.young[items]
        if self.net is None:
            scores = self._weighted(size, at, nearest, young, unlisted=not len(recent))
        else:
            ranks = self._ranks(size, at, young, unlisted=not len(recent))
            inputs = np.zeros((len(items), ranks.shape[1] + len(OF_VISITOR)), np.float32)
            inputs[:, : ranks.shape[1]] = ranks
            write_of_visitor(inputs[:, ranks.shape[1] :], recent, items, young)
            scores = ranks @ self._weights
            scores += self.net.of(inputs)
        order = best_first(scores, nearest)
        if self._reserving is not None:
            reserved = np.searchsorted(items, lists[self._reserving][:RESERVED])
            others = np.ones(len(items), bool)
            others[reserved] = False
            order = np.concatenate([reserved, order[others[order]]])
        return Blended(items[order], scores[order])

    def _weighted(
        self,
        size: list[int],
        at: np.ndarray,
        nearest: np.ndarray,
        young: np.ndarray,
        unlisted: bool,
    ) -> np.ndarray:
        """Return the weighted ranks of the union, float32 [N]; ``Union.scores`` without its table.

        An item that a list lacks has the list's last place, and what its places give above that is
        added.

        Args:
            size: [K], of the lists.
            at: int64, the item of each entry of all lists.
            nearest: int64 [N], place in retrieval.
            young: bool [N].
            unlisted: what the list of reserved items has gets no score for it.
        """
        tables, items = self._tables, len(young)
        above = [one[:n] for one, n in zip(tables.above, size, strict=True)]
        if self._reserving is not None and unlisted:
            above[self._reserving] = np.zeros_like(above[self._reserving])
        scores = np.bincount(at, np.concatenate(above), minlength=items) + tables.least
        fresh = young.nonzero()[0]
        if len(fresh):
            listed = np.bincount(at, tables.by_clicks.repeat(size), minlength=items)[fresh]
            scores[fresh] += (tables.all_by_clicks - listed) * tables.near[nearest[fresh]]
        return scores.astype(np.float32)

    def _ranks(
        self, size: list[int], at: np.ndarray, young: np.ndarray, unlisted: bool
    ) -> np.ndarray:
        """Return ``logs`` of the places of ``union``, float32 [N, K], without its tables.

        Arguments as for ``_weighted``.
        """
        tables = self._tables
        places = [tables.of_place[:n] for n in size]
        if self._reserving is not None and unlisted:
            places[self._reserving] = tables.last[self._reserving].repeat(size[self._reserving])
        ranks = np.empty((len(young), len(size)), np.float32)
        ranks[:] = tables.last
        ranks[at, tables.columns.repeat(size)] = np.concatenate(places)
        if young.any():
            near, own = np.maximum(ranks[young, :1], tables.last), ranks[young]
            ranks[young] = np.where((own == tables.last) & self._by_clicks, near, own)
        return ranks

    def owed(self, recent: Recent, retrieved: np.ndarray, rows: np.ndarray) -> Owed:
        """Return to which sources the items are owed; the answer itself does not need to know.

        Args:
            recent: of the visitor.
            retrieved: see ``union``.
            rows: int64 [N], of items of the union, in any order.
        """
        found = Union.of(self._lists(recent, retrieved), self.longest)
        above = self._weights * (logs(found.places) - logs(np.array(self.longest)))
        above = np.where(found.listed, above, -np.inf)
        at = np.minimum(np.searchsorted(found.items, rows), len(found.items) - 1)
        if len(rows) and not np.array_equal(found.items[at], rows):
            raise ValueError("some items are not of the visitor's union: explain the latest answer")
        code = np.array([ALL_SOURCES.index(name) for name in self.names], np.int32)
        return Owed(
            (found.listed @ (1 << code))[at].astype(np.int32), code[above.argmax(axis=1)[at]]
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
        """Return the lists in the order of ``names``.

        Without a click there is nothing to compare young items with. Where new items have places,
        the list then has the last ones of the catalogue, to which ``of`` gives no score.
        """
        lists = [retrieved[:RETRIEVED], *(one.best(recent, LISTED) for one in self.sources)]
        if self._reserving is not None and not len(recent):
            source = self.sources[self._reserving - 1]
            assert isinstance(source, Young)
            lists[self._reserving] = source.rows[::-1][:RESERVED]
        return lists

    @cached_property
    def _reserving(self) -> int | None:
        """Return the list whose first items are always candidates; None: none."""
        return (
            self.names.index(YOUNG_ITEMS)
            if self.new_item_places and YOUNG_ITEMS in self.names
            else None
        )

    @cached_property
    def _weights(self) -> np.ndarray:
        """Return the weights in the order of ``names``, float32 [K]."""
        return np.array([self.weights[name] for name in self.names], np.float32)

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

    least: float  # score of an item that no list has
    above: tuple[np.ndarray, ...]  # K of float32 [longest of k]: what a place gives above that
    by_clicks: np.ndarray  # float64 [K], weights of the lists that go by clicks; 0: of others
    all_by_clicks: float  # their sum
    near: np.ndarray  # float64 [RETRIEVED + 1]: a place in retrieval above the last of such a list
    of_place: np.ndarray  # float32 [RETRIEVED + 1], ``logs`` of all places
    last: np.ndarray  # float32 [K], ``logs`` of the place of an item that a list lacks
    columns: np.ndarray  # int64 [K], 0, 1, 2, …

    @classmethod
    def of(cls, blend: Blend) -> _Tables:
        """Compute the tables."""
        weights = blend._weights
        of_place, least = logs(np.arange(RETRIEVED + 1)), logs(np.array(blend.longest))
        above = zip(weights, least, blend.longest, strict=True)
        by_clicks = np.where(blend._by_clicks, weights, 0.0)
        return cls(
            float(weights.astype(np.float64) @ least),
            tuple(weight * (of_place[:longest] - low) for weight, low, longest in above),
            by_clicks.astype(np.float64),
            float(by_clicks.sum(dtype=np.float64)),
            np.maximum(of_place - logs(np.array(LISTED)), 0).astype(np.float64),
            of_place,
            least,
            np.arange(len(least)),
        )
