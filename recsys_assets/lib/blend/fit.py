"""Fit the sources of candidates: from the baselines of the evaluation to tables that serve.

The models are those of ``lib/evaluation``, so a source alone is as good as the baseline of its
name, up to what a table cuts off: NEIGHBOURS per item, and the visitor's latest clicks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import scipy.sparse as sp

from recsys_assets.lib.evaluation.baseline_spaces import DEFAULTS, Params
from recsys_assets.lib.evaluation.baseline_tuning import Fitter
from recsys_assets.lib.evaluation.baselines import Ease, ImplicitALS, ItemKNN
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.session_baselines import FollowUps, SessionKNN
from recsys_assets.lib.sources.forward_decay import DEFAULT_HALF_LIFE
from recsys_assets.lib.sources.sources import (
    FoldIn,
    MostPopular,
    Neighbours,
    OwnItems,
    Sessions,
    Source,
    Young,
)
from recsys_assets.source_names import (
    EASE,
    FOLLOW_UPS,
    IALS,
    ITEM_KNN,
    OWN_ITEMS,
    POPULAR_NOW,
    POPULARITY,
    SESSION_KNN,
    YOUNG_CLICKS,
    YOUNG_ITEMS,
)

#: Neighbours that a table keeps per item, and in a catalogue above LARGE items: 400 MB of int32 and
#: float32 for a million items that all have some.
NEIGHBOURS, NEIGHBOURS_OF_LARGE, LARGE = 100, 50, 200_000
#: Items that a list of popular items has at most.
_MOST_POPULAR = 1_000
#: Most items for which iALS and item-to-item serve: their factors are searched whole, 2 ms for
#: 50,000 items.
MOST_FACTORS = 50_000
#: Most young items that are compared: .4 ms per visitor; 25,000 take 1.3 ms.
MOST_YOUNG = 10_000
_HOURS = 24.0
_ROWS = 512  # of a dense table that are sorted at a time

#: Source → the baseline whose parameters it has.
TUNED_AS: Mapping[str, str] = {
    FOLLOW_UPS: "follow_ups",
    ITEM_KNN: "item_knn",
    EASE: "ease",
    IALS: "ials",
    SESSION_KNN: "session_knn",
    POPULARITY: "recent_popularity",
    OWN_ITEMS: "own_counts",
}


def fit_source(
    name: str, fitted: ClickLog, day: int, params: Params, content: np.ndarray, seed: int
) -> Source | None:
    """Fit a source to the clicks before a day.

    Args:
        name: one of SOURCE_NAMES but POPULAR_NOW, which has nothing to fit, and ITEM_TO_ITEM, which
            ``lib/ladder/fitting.py`` fits.
        fitted: clicks before ``day``, of the vocabulary's items in order.
        day: days since 1970.
        params: of the baseline in TUNED_AS.
        content: float32 [3 + I, D], by Categorify index.
        seed: of iALS.

    Returns:
        the source; None where the clicks or the catalogue do not allow it.
    """
    if name == YOUNG_ITEMS:
        young = np.flatnonzero(young_items(fitted))
        # those that somebody has clicked come first, then the last of the catalogue
        clicks = fitted.daily.sum(axis=0)[young]
        kept = np.lexsort((-young, -clicks))[:MOST_YOUNG]
        return Young(np.sort(young[kept]), content)
    if name == POPULARITY:
        counts = fitted.recent(day, params["half_life"], params["window"])
        ranked = np.argsort(-counts, kind="stable")[:_MOST_POPULAR]
        return MostPopular(ranked[counts[ranked] > 0])
    if name == OWN_ITEMS:
        return OwnItems(params["half_life"] * _HOURS)
    if not len(fitted.code) or (name == IALS and fitted.items > MOST_FACTORS):
        return None
    return _FITS[name](Fitter.of(fitted, fitted, seed)(TUNED_AS[name], params), params)


def young_items(fitted: ClickLog) -> np.ndarray:
    """Return for each item whether it has fewer than YOUNG_CLICKS clicks, bool [I]."""
    return np.asarray(fitted.daily.sum(axis=0) < YOUNG_CLICKS)


def _follow_ups(model: Any, params: Params) -> Source:
    items, weights = table(cast(FollowUps, model).after)
    return Neighbours.of(FOLLOW_UPS, items, weights, decay=params["place_decay"])


def _item_knn(model: Any, params: Params) -> Source:
    items, weights = table(cast(ItemKNN, model).similarity)
    return Neighbours.of(ITEM_KNN, items, weights, half_life=params["half_life"] * _HOURS)


def _ease(model: Any, params: Params) -> Source:
    fitted = cast(Ease, model)
    size, chosen = len(fitted.fitted), len(fitted.chosen)
    # rows of chosen items, columns of chosen items
    width = min(NEIGHBOURS if size <= LARGE else NEIGHBOURS_OF_LARGE, chosen)
    items, weights = (np.zeros((chosen, width), dtype) for dtype in (np.int32, np.float32))
    for start in range(0, chosen, _ROWS):
        rows = slice(start, start + _ROWS)
        block = fitted.weights[rows]
        largest = np.argsort(-np.abs(block), axis=1, kind="stable")[:, :width]
        items[rows] = fitted.chosen[largest]
        weights[rows] = np.take_along_axis(block, largest, axis=1)
    place = np.full(size, -1)
    place[fitted.chosen] = np.arange(chosen)
    return Neighbours.of(EASE, items, weights, place, half_life=params["half_life"] * _HOURS)


def _ials(model: Any, params: Params) -> Source:
    fitted = cast(ImplicitALS, model)
    factors = np.asarray(fitted.model.item_factors, np.float32)
    wide = factors.astype(np.float64)
    gram = wide.T @ wide + fitted.model.regularization * np.eye(factors.shape[1])
    return FoldIn(factors, gram, fitted.alpha, params["half_life"] * _HOURS)


def _session_knn(model: Any, params: Params) -> Source:
    fitted = cast(SessionKNN, model)
    return Sessions(
        fitted.index.indptr,
        fitted.index.indices.astype(np.int32),
        fitted.rarity,
        fitted.recency,
        fitted.sessions.indptr,
        fitted.sessions.indices.astype(np.int32),
        int(params["neighbours"]),
        params["place_decay"],
    )


_FITS: Mapping[str, Callable[[Any, Params], Source]] = {
    FOLLOW_UPS: _follow_ups,
    ITEM_KNN: _item_knn,
    EASE: _ease,
    IALS: _ials,
    SESSION_KNN: _session_knn,
}


def table(matrix: sp.csr_matrix, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries of largest size of each row, as tables of equal width.

    Args:
        matrix: [I, I].
        most: entries of a row; None: as many as the size of the catalogue allows.

    Returns:
        columns int32 and values float32 [I, N], N ≤ ``most``; of equal ones, the first columns.
        Rows with fewer entries have value 0 and column 0 at the end.
    """
    if most is None:
        most = NEIGHBOURS if matrix.shape[0] <= LARGE else NEIGHBOURS_OF_LARGE
    rows = sp.csr_matrix(matrix)
    rows.sort_indices()
    size = np.diff(rows.indptr)
    owner = np.repeat(np.arange(len(size)), size)
    order = np.lexsort((-np.abs(rows.data), owner))
    place = np.arange(len(order)) - np.repeat(rows.indptr[:-1], size)
    kept = place < most
    width = max(1, min(most, int(size.max(initial=0))))
    columns, values = (np.zeros((len(size), width), dtype) for dtype in (np.int32, np.float32))
    columns[owner[kept], place[kept]] = rows.indices[order[kept]]
    values[owner[kept], place[kept]] = rows.data[order[kept]]
    return columns, values


def default_params(name: str) -> Params:
    """Return the parameters of a source that was not tuned."""
    if name == POPULAR_NOW:
        return {"half_life": DEFAULT_HALF_LIFE}
    return DEFAULTS[TUNED_AS[name]] if name in TUNED_AS else {}
