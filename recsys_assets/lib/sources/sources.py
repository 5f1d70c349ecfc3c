"""Define the sources: each lists the items that it thinks best for a visitor's latest clicks.

A source reads plain arrays that may be mapped into memory, so that a release of a million items
opens at once. What it costs grows with the visitor's clicks and the neighbours of an item, and not
with the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from recsys_assets.columns import VOCABULARY_START
from recsys_assets.lib.sources.causes import NO_CAUSE, strongest
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.union import DENSE, POSITIONS, distinct
from recsys_assets.source_names import IALS, OWN_ITEMS, POPULARITY, SESSION_KNN, YOUNG_ITEMS

#: Up to so many items, sums of 0 are selected with the others, and all are sorted: to drop some
#: first takes longer.
_FEW = 2048
_SCORE_BITS = np.int64(-0x10000)


class Source(Protocol):
    """Lists items for a visitor."""

    @property
    def name(self) -> str:
        """Name of the source, as files and figures show it."""

    def best(self, recent: Recent, most: int) -> np.ndarray:
        """Return at most ``most`` rows of the vocabulary, each once, best first, int64 [N]."""


@dataclass(frozen=True)
class Neighbours:
    """Sums the neighbours of the visitor's clicked items.

    One form serves what was clicked after an item, item-kNN and EASE: their tables differ. Most
    items of a large catalogue have no neighbour, so they share one row of the tables.
    """

    name: str
    place: np.ndarray  # int32 [I], row of each item in the tables; 0: it has no neighbour
    items: np.ndarray  # int32 [R, N], rows of the neighbours; zeros in row 0
    weights: np.ndarray  # float32 [R, N], 0 where an item has fewer neighbours
    decay: float | None = None  # weight of a click relative to the one after it; None: by age
    half_life: float = 72.0  # hours, where weights go by age

    @classmethod
    def of(
        cls,
        name: str,
        items: np.ndarray,
        weights: np.ndarray,
        place: np.ndarray | None = None,
        **how: float,
    ) -> Neighbours:
        """Keep the rows of items that have a neighbour.

        Args:
            name: of the source.
            items: int32 [R, N], rows of the neighbours.
            weights: float32 [R, N].
            place: int [I], row of each item in these tables, -1 where it has none; None: item i
                has row i.
            how: ``decay`` or ``half_life``.
        """
        kept = (weights != 0).any(axis=1)
        row = np.append(np.where(kept, kept.cumsum(), 0), 0).astype(np.int32)
        small = [
            np.concatenate([np.zeros_like(one, shape=(1, one.shape[1])), one[kept]])
            for one in (items, weights)
        ]
        return cls(name, row[:-1] if place is None else row[place], small[0], small[1], **how)

    def best(self, recent: Recent, most: int) -> np.ndarray:
        """Return the items of the highest sums above 0; of equal ones, the first rows."""
        if not len(recent):
            return np.zeros(0, np.int64)
        weight = self._of_clicks(recent)
        at = self.place.take(recent.rows)
        found = self.items.take(at, axis=0).ravel()
        summed = (self.weights.take(at, axis=0) * weight[:, None]).ravel()
        return of_highest_sums(found, summed, len(self.place), most)

    def cause(self, recent: Recent, items: np.ndarray) -> np.ndarray:
        """Return the visitor's item that adds most to the sum of each item; see ``FromClicks``."""
        at = self.place.take(recent.rows)
        near, weights = self.items.take(at, axis=0), self.weights.take(at, axis=0)
        added = (weights[:, :, None] * (near[:, :, None] == items)).sum(axis=1)
        return strongest(recent, added * self._of_clicks(recent)[:, None])

    def _of_clicks(self, recent: Recent) -> np.ndarray:
        """Return the weights of the clicks, float32 [n]."""
        return recent.by_age(self.half_life) if self.decay is None else recent.by_place(self.decay)


@dataclass(frozen=True)
class OwnItems:
    """Lists the visitor's own items by their clicks, newer ones weighing more."""

    half_life: float = 72.0  # hours
    name: str = OWN_ITEMS

    def best(self, recent: Recent, most: int) -> np.ndarray:
        """Return the visitor's items; of equal ones, the first rows."""
        items, at = recent.items
        weight = recent.by_age(self.half_life)
        return highest(items, np.bincount(at, weight, minlength=len(items)), most)

    def cause(self, recent: Recent, items: np.ndarray) -> np.ndarray:
        """Return the items themselves; see ``FromClicks``."""
        return np.where(np.isin(items, recent.rows), items, NO_CAUSE)


@dataclass(frozen=True)
class MostPopular:
    """Lists the same items for every visitor."""

    ranked: np.ndarray  # int64 [N], best first
    name: str = POPULARITY

    def best(self, recent: Recent, most: int) -> np.ndarray:
        """Return the first items."""
        return self.ranked[:most]


@dataclass(frozen=True)
class FoldIn:
    """Folds the visitor's clicks into the factors of iALS, and lists the nearest items.

    With Y the factors, c = 1 + α·w the confidence of the clicks and C = Σ c y yᵀ, the visitor is
    (YᵀY + Σ (c - 1) y yᵀ + λI)⁻¹ Σ c y (Hu, Koren and Volinsky 2008, eq. 4).
    """

    factors: np.ndarray  # float32 [I, F]
    gram: np.ndarray  # float64 [F, F]: YᵀY + λI
    alpha: float
    half_life: float = 72.0  # hours
    name: str = IALS

    def best(self, recent: Recent, most: int) -> np.ndarray:
        """Return the items of the highest inner products; none for a visitor without clicks."""
        if not len(recent):
            return np.zeros(0, np.int64)
        rows, at = recent.items
        added = self.alpha * np.bincount(at, recent.by_age(self.half_life))
        own = self.factors[rows].astype(np.float64)
        left = self.gram + (own * added[:, None]).T @ own
        visitor = np.linalg.solve(left, own.T @ (1.0 + added))
        scores = self.factors @ visitor.astype(np.float32)
        return highest(None, scores, most, floor=-np.inf)


@dataclass(frozen=True)
class Sessions:
    """Sums the past sessions that are most similar to the visitor's latest clicks.

    Source: V-SKNN over an index of each item's latest sessions; see
    ``lib/evaluation/session_baselines.py``.
    """

    item_start: np.ndarray  # int [I + 1], bounds of each item's part of ``session``
    session: np.ndarray  # int32 [...], sessions of an item
    rarity: np.ndarray  # float64 [I], an item's weight in the similarity of a session
    recency: np.ndarray  # float64 [S], of a session; multiplied with the rarity
    start: np.ndarray  # int [S + 1], bounds of each session's part of ``items``
    items: np.ndarray  # int32 [...], rows of a session's items
    neighbours: int  # sessions that are summed
    decay: float  # weight of a click relative to the one after it
    name: str = SESSION_KNN

    def best(self, recent: Recent, most: int) -> np.ndarray:
        """Return the items of the highest sums; of equal ones, the first rows."""
        rows, at = recent.items
        found, size = _gather(self.item_start, rows)
        if not len(found):
            return np.zeros(0, np.int64)
        session = self.session.take(found)
        weight = self.rarity.take(rows).repeat(size)
        weight *= self.recency.take(session)
        places = np.bincount(at, recent.by_place(self.decay), minlength=len(rows))
        # float32, as the baseline's index of the evaluation has it
        weight = weight.astype(np.float32) * places.repeat(size)
        sessions, near = total(session, weight, len(self.start) - 1)
        best = first(near, self.neighbours)
        parts, length = _gather(self.start, sessions[best])
        shared = near[best].repeat(length)
        return of_highest_sums(self.items.take(parts), shared, len(self.item_start) - 1, most)


@dataclass(frozen=True)
class Young:
    """Lists items with few clicks that resemble the visitor's latest items by content."""

    rows: np.ndarray  # int64 [Y], the young items, ascending
    content: np.ndarray  # float32 [3 + I, D], text and image embeddings by Categorify index
    latest: int = 10  # clicks that are compared
    name: str = YOUNG_ITEMS

    @cached_property
    def _vectors(self) -> np.ndarray:
        """Return the unit vectors of the young items, float32 [Y, D]."""
        return _unit(self.content[self.rows + VOCABULARY_START])

    def best(self, recent: Recent, most: int) -> np.ndarray:
        """Return the young items of the highest mean cosine."""
        if not len(recent) or not len(self.rows):
            return np.zeros(0, np.int64)
        latest = recent.rows[: self.latest] + VOCABULARY_START
        # as mean(axis=0), without its checks
        mean = np.add.reduce(_unit(self.content[latest]), axis=0) / np.float32(len(latest))
        return highest(self.rows, self._vectors @ mean, most, floor=-np.inf)

    def cause(self, recent: Recent, items: np.ndarray) -> np.ndarray:
        """Return the compared item of the highest cosine with each item; see ``FromClicks``."""
        compared = Recent(recent.rows[: self.latest], recent.ages[: self.latest])
        own, wanted = (
            _unit(self.content[rows + VOCABULARY_START]) for rows in (compared.rows, items)
        )
        return strongest(compared, own @ wanted.T)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors with length 1, float32 [N, D]; a vector of zeros stays."""
    # as np.linalg.norm, without its checks
    length = np.sqrt(np.add.reduce(vectors * vectors, axis=1, keepdims=True))
    length[length == 0] = 1
    return np.asarray(vectors / length, np.float32)


def _gather(start: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the parts of ``rows``, one part after the other, and their sizes.

    >>> [found.tolist() for found in _gather(np.array([0, 2, 2, 5]), np.array([2, 0]))]
    [[2, 3, 4, 0, 1], [3, 2]]
    """
    # take is faster than an index, and int64 at once than on the way
    begin = start.take(rows).astype(np.int64, copy=False)
    size = start.take(rows + 1).astype(np.int64, copy=False) - begin
    end = size.cumsum()
    positions = (begin - end + size).repeat(size)
    positions += np.arange(len(positions))
    return positions, size


def total(rows: np.ndarray, weights: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows, ascending, and the sums of their weights, float64.

    Rows whose weights add up to 0 are left out. The sums are equal to the bit however large the
    catalogue is; of a small one, an array of all rows is faster than sorting.

    Args:
        rows: int [N], from 0 to ``size`` - 1.
        weights: float [N].
        size: of the catalogue, or number of sessions.
    """
    if size <= DENSE:
        sums = np.bincount(rows, weights, minlength=size)
        found = (sums != 0).nonzero()[0]  # nonzero of floats takes 6x as long
        return found, sums[found]
    found, at = distinct(rows)
    sums = np.bincount(at, weights)
    return found[sums != 0], sums[sums != 0]


def first(scores: np.ndarray, most: int) -> np.ndarray:
    """Return the positions of the ``most`` highest scores, ascending; of equal ones, the first.

    >>> first(np.array([1.0, 3.0, 3.0, 2.0]), 2).tolist()
    [1, 2]
    """
    if len(scores) <= most:
        return np.arange(len(scores))
    border = np.partition(scores, len(scores) - most)[len(scores) - most]
    found: np.ndarray = (scores >= border).nonzero()[0]
    if len(found) > most:  # the last ones of the border
        at = (scores == border).nonzero()[0]
        found = np.setdiff1d(found, at[len(at) - len(found) + most :], assume_unique=True)
    return found


def of_highest_sums(rows: np.ndarray, weights: np.ndarray, size: int, most: int) -> np.ndarray:
    """Return the rows of the highest sums above 0, as ``highest(*total(…), most)``, int64."""
    if size <= _FEW:
        return highest(None, np.bincount(rows, weights, minlength=size), most)
    return highest(*total(rows, weights, size), most)


def highest(
    items: np.ndarray | None, scores: np.ndarray, most: int, floor: float = 0.0
) -> np.ndarray:
    """Return the items of the highest scores above ``floor``, best first, int64 [≤ most].

    Scores are compared by the first 37 bits of their mantissa. To sort whole numbers that hold
    score and position takes half the time of sorting positions by scores.

    Args:
        items: ascending, so that of equal scores the lowest item comes first; None: 0, 1, 2, …
        scores: float [N], finite. float64 for a floor of 0 has no -0, as sums of ``np.bincount``.
        most: items of the list, at most 2 ** 16.
        floor: 0, or -inf for all.

    >>> highest(np.array([3, 5, 9]), np.array([1.0, 0.0, 2.0]), 2).tolist()
    [9, 3]
    """
    kept, bits = None, _ordered_bits(scores, floor == 0.0) & _SCORE_BITS
    if len(bits) > len(POSITIONS):
        kept = first(bits, most)
        bits = bits[kept]
    key = POSITIONS[: len(bits)] - bits
    if len(key) > max(_FEW, most):
        key.partition(most - 1)
        key = key[:most]
    key.sort()
    key = key[:most]
    if floor == 0.0 and len(key) and key[-1] >= 0:
        key = key[: key.searchsorted(0)]
    key &= ~_SCORE_BITS
    if kept is not None:
        key = kept[key]
    return key if items is None else items[key].astype(np.int64, copy=False)


def _ordered_bits(scores: np.ndarray, only_above_0: bool) -> np.ndarray:
    """Return whole numbers that grow with the scores, at least with those above 0, int64 [N].

    Bits of floats above 0 grow with the value, those of floats below 0 fall.
    """
    if only_above_0 and scores.dtype == np.float64:
        return scores.view(np.int64)
    bits: np.ndarray = np.add(scores, 0.0, dtype=np.float64).view(np.int64)  # -0 + 0 is 0
    bits ^= (bits >> 63) & np.int64(0x7FFFFFFFFFFFFFFF)
    return bits
