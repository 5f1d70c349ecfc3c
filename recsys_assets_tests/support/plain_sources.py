"""Sources and their blend, written to be read: what the fast code must equal to the bit."""

from __future__ import annotations

import numpy as np

from recsys_assets.lib.sources.blend import Blend, Blended, Owed
from recsys_assets.lib.sources.cosine_factors import CosineFactors
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import (
    FoldIn,
    MostPopular,
    Neighbours,
    OwnItems,
    Sessions,
    Source,
    Young,
)
from recsys_assets.lib.sources.union import LISTED, RETRIEVED
from recsys_assets.source_names import ALL_SOURCES, BY_CLICKS

NONE = np.zeros(0, np.int64)


def best(source: Source, recent: Recent, most: int) -> np.ndarray:
    """``Source.best`` of every kind."""
    if isinstance(source, MostPopular):
        return source.ranked[:most]
    if not len(recent):
        return NONE
    rows, at = np.unique(recent.rows, return_inverse=True)
    if isinstance(source, Neighbours):
        by_place = source.decay is not None
        weight = recent.by_place(source.decay) if by_place else recent.by_age(source.half_life)
        rows = [source.place[row] for row in recent.rows]
        found = source.items[rows].ravel()
        return highest(*total(found, (source.weights[rows] * weight[:, None]).ravel()), most)
    if isinstance(source, OwnItems):
        return highest(rows, np.bincount(at, recent.by_age(source.half_life)), most)
    if isinstance(source, FoldIn):
        added = source.alpha * np.bincount(at, recent.by_age(source.half_life))
        own = source.factors[rows].astype(np.float64)
        left = source.gram + (own * added[:, None]).T @ own
        visitor = np.linalg.solve(left, own.T @ (1.0 + added)).astype(np.float32)
        return highest(np.arange(len(source.factors)), source.factors @ visitor, most, -np.inf)
    if isinstance(source, CosineFactors):
        weight = np.exp2(-recent.ages / source.half_life).astype(np.float32)
        visitor = weight @ source.vectors[recent.rows]
        visitor[0] = source.popularity
        return highest(np.arange(len(source.vectors)), source.vectors @ visitor, most)
    if isinstance(source, Sessions):
        places = np.bincount(at, recent.by_place(source.decay))
        bounds = [slice(*source.item_start[row : row + 2]) for row in rows]
        weight = [
            (rarity * source.recency[source.session[part]]).astype(np.float32) * place
            for part, rarity, place in zip(bounds, source.rarity[rows], places, strict=True)
        ]
        sessions, near = total(
            np.concatenate([source.session[part] for part in bounds]), np.concatenate(weight)
        )
        nearest = np.sort(np.argsort(-near, kind="stable")[: source.neighbours])
        parts = [source.items[slice(*source.start[one : one + 2])] for one in sessions[nearest]]
        size = [len(part) for part in parts]
        return highest(*total(np.concatenate([NONE, *parts]), np.repeat(near[nearest], size)), most)
    assert isinstance(source, Young)
    if not len(source.rows):
        return NONE
    young = unit(source.content[source.rows + 3])
    latest = unit(source.content[recent.rows[: source.latest] + 3])
    return highest(source.rows, young @ latest.mean(axis=0), most, -np.inf)


def unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), np.float32)


def total(rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows, ascending, whose weights do not add up to 0, and the sums."""
    found, at = np.unique(rows.astype(np.int64), return_inverse=True)
    sums = np.bincount(at, weights, minlength=len(found))
    return found[sums != 0], sums[sums != 0]


def highest(items: np.ndarray, scores: np.ndarray, most: int, floor: float = 0.0) -> np.ndarray:
    order = np.lexsort((items, -first_bits(scores)))[:most]
    return items[order[scores[order] > floor]]


def first_bits(scores: np.ndarray) -> np.ndarray:
    """The first 37 bits of the mantissas: what rounding did to the others must not order."""
    part, exponent = np.frexp(scores.astype(np.float64))
    return np.ldexp(np.trunc(part * 2.0**37), exponent - 37)


def union(blend: Blend, recent: Recent, retrieved: np.ndarray):
    """The items, their places and whether the lists have them, by loops."""
    lists = [retrieved[:RETRIEVED], *(best(one, recent, LISTED) for one in blend.sources)]
    items = np.unique(np.concatenate(lists))
    places = np.tile(np.array(blend.longest), (len(items), 1))
    listed = np.zeros(places.shape, bool)
    for k, one in enumerate(lists):
        for place, item in enumerate(one.tolist()):
            row = np.searchsorted(items, item)
            places[row, k], listed[row, k] = place, True
    for row in np.flatnonzero(blend.young[items]):
        for k, name in enumerate(blend.names):
            if name in BY_CLICKS and not listed[row, k]:
                places[row, k] = min(places[row, 0], blend.longest[k])
    return items, places, listed


def of(blend: Blend, recent: Recent, retrieved: np.ndarray) -> Blended:
    """``Blend.of``."""
    items, places, listed = union(blend, recent, retrieved)
    logs = -np.log(np.arange(RETRIEVED + 1) + 2).astype(np.float32)
    weights = [np.float32(blend.weights[name]) for name in blend.names]
    least = [logs[longest] for longest in blend.longest]
    scores = []
    for row in range(len(items)):
        score = 0.0
        for k, weight in enumerate(weights):
            if listed[row, k]:
                score += float(weight * (logs[places[row, k]] - least[k]))
        score += sum(float(one) * float(low) for one, low in zip(weights, least, strict=True))
        if blend.young[items[row]]:
            clicked = [k for k, name in enumerate(blend.names) if name in BY_CLICKS]
            unlisted = sum(float(weights[k]) for k in clicked) - sum(
                float(weights[k]) for k in clicked if listed[row, k]
            )
            # retrieval's place, up to the last place of such a list
            near = logs[places[row, 0]] if listed[row, 0] else -np.inf
            score += unlisted * float(max(near - logs[LISTED], 0))
        scores.append(np.float32(score))
    found = np.array(scores, np.float32)
    order = np.lexsort((items, places[:, 0], -found))
    return Blended(items[order], found[order])


def owed(blend: Blend, recent: Recent, retrieved: np.ndarray, rows: np.ndarray) -> Owed:
    """``Blend.owed``."""
    items, places, listed = union(blend, recent, retrieved)
    logs = -np.log(np.arange(RETRIEVED + 1) + 2).astype(np.float32)
    weights = np.array([blend.weights[name] for name in blend.names], np.float32)
    code = np.array([ALL_SOURCES.index(name) for name in blend.names])
    above = np.where(listed, weights * (logs[places] - logs[np.array(blend.longest)]), -np.inf)
    at = [items.tolist().index(row) for row in rows.tolist()]
    return Owed(
        (listed @ (1 << code))[at].astype(np.int32), code[above.argmax(axis=1)][at].astype(np.int32)
    )
