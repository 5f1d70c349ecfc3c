"""Gather what the sources list for held-out clicks: the labels by which a blend is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.query_sources import folds, recents
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.list_net import OF_VISITOR, write_of_visitor
from recsys_assets.lib.sources.union import logs

#: The items that retrieval finds for some queries: rows of the queries → vocabulary rows
#: int64 [n, R], best first; -1 where there are fewer.
Retrieve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ClickLabels:
    """Holds the unseen items that all lists together have for Q held-out clicks."""

    names: tuple[str, ...]  # [K], retrieval first
    start: np.ndarray  # int64 [Q + 1], bounds of each query's items
    rows: np.ndarray  # int64 [N], of the vocabulary
    logs: np.ndarray  # float32 [N, K], -log(1 + rank)
    listed: np.ndarray  # bool [N, K]
    hit: np.ndarray  # bool [N], the clicked item
    users: np.ndarray  # int64 [Q]
    fold: np.ndarray  # int64 [Q]
    items: int  # of the catalogue
    more: np.ndarray  # float32 [N, E], the columns ``list_net.OF_VISITOR``
    logit: np.ndarray | None = None  # float32 [N], the ranker's log-odds; None: no ranker
    value: np.ndarray | None = None  # float64 [Q], of the clicks; None: each counts once

    @classmethod
    def gather(
        cls,
        blend: Blend,
        queries: Queries,
        latest: LatestClicks,
        retrieve: Retrieve,
        catalogue: np.ndarray,
    ) -> ClickLabels:
        """Ask all sources.

        Args:
            blend: whose sources are asked; its weights do not matter.
            queries: held-out clicks.
            latest: clicks by rows of the vocabulary.
            retrieve: of the queries.
            catalogue: int64 [I'], row of ``queries.item_ids`` of each item of the vocabulary; -1
                where it has none.
        """
        start, rows, places, listed, hit, more = [0], [], [], [], [], []
        chunk = list_metrics.chunk_of(queries)
        for first in range(0, len(queries), chunk):
            part = np.arange(first, min(first + chunk, len(queries)))
            for row, recent, found in zip(
                part, recents(latest, queries, part, blend.half_lives), retrieve(part), strict=True
            ):
                union = blend.union(recent, found[found >= 0])
                own = catalogue[union.items]
                seen = queries.seen_items[queries.seen_start[row] : queries.seen_start[row + 1]]
                kept = (own >= 0) & ~np.isin(own, seen)
                rows.append(union.items[kept])
                places.append(union.places[kept])
                listed.append(union.listed[kept])
                hit.append(own[kept] == queries.true[row])
                items = union.items[kept]
                more.append(np.zeros((len(items), len(OF_VISITOR)), np.float32))
                write_of_visitor(more[-1], recent, items, blend.young[items])
                start.append(start[-1] + int(kept.sum()))
        width = len(blend.names)
        return cls(
            blend.names,
            np.array(start, np.int64),
            np.concatenate([np.zeros(0, np.int64), *rows]),
            logs(np.concatenate([np.zeros((0, width), np.int64), *places])),
            np.concatenate([np.zeros((0, width), bool), *listed]),
            np.concatenate([np.zeros(0, bool), *hit]),
            queries.users,
            folds(queries),
            queries.items,
            np.concatenate([np.zeros((0, len(OF_VISITOR)), np.float32), *more]),
            value=queries.values,
        )

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.users)

    @property
    def net_inputs(self) -> np.ndarray:
        """What a net reads of each item, float32 [N, K + E]: ``logs`` and ``more``."""
        return np.concatenate([self.logs, self.more], axis=1)

    @cached_property
    def query(self) -> np.ndarray:
        """Query of each item, int64 [N]."""
        return np.repeat(np.arange(len(self)), np.diff(self.start))

    @cached_property
    def found(self) -> np.ndarray:
        """Return for each query whether one of its lists has the clicked item, bool [Q]."""
        return np.bincount(self.query[self.hit], minlength=len(self)) > 0

    @cached_property
    def learnable(self) -> np.ndarray:
        """Return for each query whether a fit learns from it, bool [Q]: found, and of value."""
        return self.found if self.value is None else self.found & (self.value > 0)

    def weights(self, queries: np.ndarray) -> np.ndarray:
        """Return the weights of some queries, float64 [n].

        Those of a visitor sum up to 1, however many clicks they have, and are as their values.

        queries: rows, or a mask, of queries with a value above 0.
        """
        _, user = np.unique(self.users[queries], return_inverse=True)
        if self.value is None:
            return np.asarray(1.0 / np.bincount(user)[user])
        value = self.value[queries]
        return np.asarray(value / np.bincount(user, value)[user])

    @cached_property
    def ranks_alone(self) -> np.ndarray:
        """Rank of each clicked item in each list alone, int64 [K, Q].

        It is the catalogue's size + 1 where the list lacks the item.
        """
        found = np.full((len(self.names), len(self)), self.items + 1)
        for k in range(len(self.names)):
            has = self.hit & self.listed[:, k]
            found[k, self.query[has]] = self.ranks(self.logs[:, k])[self.query[has]]
        return found

    def ranks(self, scores: np.ndarray) -> np.ndarray:
        """Return the rank of each clicked item by scores [N], int64 [Q].

        It is the catalogue's size + 1 where no list has the item. Of equal items, the one that is
        nearer in retrieval comes first, then the lower row.
        """
        query, near = self.query, self.logs[:, 0]
        own = np.full(len(self), -np.inf)
        own_near, own_row = np.zeros(len(self)), np.zeros(len(self), np.int64)
        at = query[self.hit]
        own[at] = scores[self.hit]
        own_near[at], own_row[at] = near[self.hit], self.rows[self.hit]
        tied = scores == own[query]
        before = (scores > own[query]) | (
            tied
            & (
                (near > own_near[query])
                | ((near == own_near[query]) & (self.rows < own_row[query]))
            )
        )
        ranks = 1 + np.bincount(query[before], minlength=len(self))
        return np.where(np.isfinite(own), ranks, self.items + 1)

    def first(self, most: int) -> ClickLabels:
        """Return the labels of the first queries, at most ``most``."""
        queries = min(most, len(self))
        few = replace(
            self,
            start=self.start[: queries + 1],
            users=self.users[:queries],
            fold=self.fold[:queries],
            value=None if self.value is None else self.value[:queries],
        )
        return few._of(slice(int(self.start[queries])))

    def without(self, name: str) -> ClickLabels:
        """Return the labels as they are if a source lists nothing."""
        others = np.array([one != name for one in self.names])
        kept = np.asarray(self.listed[:, others].any(axis=1))
        count = np.bincount(self.query[kept], minlength=len(self))
        less = self._of(kept)
        return replace(
            less,
            names=tuple(one for one in self.names if one != name),
            start=np.concatenate([[0], np.cumsum(count)]),
            logs=less.logs[:, others],
            listed=less.listed[:, others],
        )

    def _of(self, items: np.ndarray | slice) -> ClickLabels:
        """Return some of the items, a mask [N] or the first; the bounds stay as they are."""
        return replace(
            self,
            rows=self.rows[items],
            logs=self.logs[items],
            listed=self.listed[items],
            hit=self.hit[items],
            more=self.more[items],
            logit=None if self.logit is None else self.logit[items],
        )
