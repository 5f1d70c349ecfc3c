"""Makes the sources of a synthetic catalogue from those of a real release.

A synthetic item has the neighbours, sessions and places of its real item; of the synthetic items of
one real item, each place draws one at random. So lists differ between the items of one base, and
tables have the size and the spread of a catalogue as large. EASE is fitted for a limited number of
items: those that the requests' visitors click, and others at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recsys_assets.lib.blend.fit import (
    LARGE,
    MOST_FACTORS,
    MOST_YOUNG,
    NEIGHBOURS,
    NEIGHBOURS_OF_LARGE,
)
from recsys_assets.lib.evaluation.baselines import DENSE_ITEMS
from recsys_assets.lib.sources.cosine_factors import CosineFactors
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.sources import (
    FoldIn,
    MostPopular,
    Neighbours,
    Sessions,
    Source,
    Young,
)
from recsys_assets.lib.sources.stored import BY_SIMILARITY, BY_SOURCES, read_blend, write_blend
from recsys_assets.source_names import EASE

_CHUNK = 50_000


class _Items:
    """Some synthetic items, by their real ones.

    Args:
        rows: int64 [N], of the synthetic items.
        base: int [N], the real item of each.
    """

    def __init__(self, rows: np.ndarray, base: np.ndarray) -> None:
        order = np.argsort(base, kind="stable")
        self._rows = rows[order]
        self._start = np.searchsorted(base[order], np.arange(int(base.max(initial=0)) + 2))

    def drawn(self, real: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return one of each real item, at random; item 0 where it has none."""
        inside = np.minimum(real, len(self._start) - 2)
        start, size = self._start[inside], self._start[inside + 1] - self._start[inside]
        place = start + (random.random(real.shape) * size).astype(np.int64)
        found = self._rows[np.minimum(place, len(self._rows) - 1)]
        return np.where((size > 0) & (real == inside), found, 0)


class SyntheticSources:
    """Turns sources of real items into sources of synthetic ones.

    Args:
        base: int [I], the real item of each synthetic one.
        random: of the draws.
        item_ids: [I], of the synthetic items.
        clicked: int64 [C], synthetic items that the requests' visitors click.
    """

    def __init__(
        self,
        base: np.ndarray,
        random: np.random.Generator,
        item_ids: Sequence[str],
        clicked: np.ndarray,
    ) -> None:
        self.base, self.random, self.item_ids, self.clicked = base, random, item_ids, clicked
        self._all = _Items(np.arange(len(base)), base)

    def drawn(self, real: np.ndarray) -> np.ndarray:
        """Return a synthetic item of each real one, at random; item 0 where it has none."""
        return self._all.drawn(real, self.random)

    def write(self, payload: Path, folder: Path) -> None:
        """Write the sources of a release's folder ``payload`` for the synthetic catalogue."""
        given = read_blend(payload)
        if given is None:
            write_blend(folder, BY_SIMILARITY, (), {}, np.zeros(len(self.base), bool))
            return
        young = np.zeros(len(self.base), bool)
        inside = self.base < len(given.young)
        young[inside] = given.young[self.base[inside]]
        sources = [self._made(source) for source in given.sources]
        kept = [source for source in sources if source is not None]
        names = (given.names[0], *(source.name for source in kept))
        weights = {name: given.weights[name] for name in names}
        net = given.net and given.net.of_lists(given.names, list(weights))
        write_blend(folder, BY_SOURCES, kept, weights, young, given.new_item_places, net)

    def _made(self, source: Source) -> Source | None:
        """Return a source of the synthetic items; None for one that is not served at this size."""
        if isinstance(source, Neighbours):
            return self._neighbours(source)
        if isinstance(source, FoldIn):
            if len(self.base) > MOST_FACTORS:
                return None
            return replace(source, factors=source.factors[self.base])
        if isinstance(source, CosineFactors):
            if len(self.base) > MOST_FACTORS:
                return None
            return replace(source, vectors=source.vectors[self.base])
        if isinstance(source, Sessions):
            return self._sessions(source)
        if isinstance(source, MostPopular):
            return replace(source, ranked=np.unique(self.drawn(source.ranked)))
        if isinstance(source, PopularNow):
            return PopularNow.of(source.half_life, self.item_ids)
        if isinstance(source, Young):
            return replace(
                source, rows=np.flatnonzero(np.isin(self.base, source.rows))[:MOST_YOUNG]
            )
        return source

    def _neighbours(self, source: Neighbours) -> Neighbours:
        """Return a table of the items that its fit would keep."""
        count = len(self.base)
        rows, among = np.arange(count), self._all
        if source.name == EASE and count > DENSE_ITEMS:
            others = np.setdiff1d(self.random.permutation(count)[:DENSE_ITEMS], self.clicked)
            rows = np.sort(np.concatenate([self.clicked, others])[:DENSE_ITEMS])
            among = _Items(rows, self.base[rows])
        most = NEIGHBOURS if count <= LARGE else NEIGHBOURS_OF_LARGE
        items = np.empty((len(rows), min(source.items.shape[1], most)), np.int32)
        weights = np.empty(items.shape, np.float32)
        for start in range(0, len(rows), _CHUNK):
            at = source.place[self.base[rows[start : start + _CHUNK]]]
            items[start : start + _CHUNK] = among.drawn(source.items[at, :most], self.random)
            weights[start : start + _CHUNK] = source.weights[at, :most]
        place = np.full(count, -1)
        place[rows] = np.arange(len(rows))
        made = Neighbours.of(source.name, items, weights, place)
        return replace(made, decay=source.decay, half_life=source.half_life)

    def _sessions(self, source: Sessions) -> Sessions:
        """Return past sessions of synthetic items, as many per real item as there are."""
        copies = max(1, len(self.base) // max(len(source.item_start) - 1, 1))
        items = self.drawn(np.tile(source.items, copies))
        size = np.tile(np.diff(source.start), copies)
        start = np.concatenate([[0], np.cumsum(size)])
        session = np.repeat(np.arange(len(size), dtype=np.int32), size)
        order = np.argsort(items, kind="stable")
        item_start = np.searchsorted(items[order], np.arange(len(self.base) + 1))
        return replace(
            source,
            item_start=item_start,
            session=session[order],
            rarity=source.rarity[self.base],
            recency=np.tile(source.recency, copies),
            start=start,
            items=items.astype(np.int32),
        )
