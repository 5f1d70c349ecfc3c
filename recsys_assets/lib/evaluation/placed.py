"""Give new items the places in the evaluation's lists that they have in served ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from recsys_assets import columns as c
from recsys_assets.lib.evaluation.item_rows import rows_in
from recsys_assets.lib.evaluation.list_metrics import RowScorer, Scorer, highest
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.ranking.places import NewItemPlaces, with_places


@runtime_checkable
class HasPlaces(Protocol):
    """A system whose lists may have new items in reserved places."""

    @property
    def unplaced(self) -> Scorer | None:
        """Return the same system without places, by its items' own scores; None: it has none."""


def placed(
    scores: np.ndarray,
    candidates: np.ndarray,
    young: np.ndarray,
    places: NewItemPlaces,
    queries: Queries,
    rows: np.ndarray,
) -> np.ndarray:
    """Return scores by which the lists have new items in their places, float64 [n, I].

    The listed items get the scores of their places. The items that leave a list come right after
    it.

    Args:
        scores: [n, I]; -inf: never shown, as for items that the visitor has seen.
        candidates: bool [n, I], the items that serving would order.
        young: bool [I], of the catalogue.
        places: of the release.
        queries: whose visitors and moments decide which places are reserved.
        rows: int64 [n], of the queries.
    """
    found = np.array(scores, np.float64)
    may = candidates & young & (found > -np.inf)
    visitors, moments = (
        queries.frame[name].gather(rows).to_list() for name in (c.USER_ID, c.TIMESTAMP)
    )
    best = highest(found, places.length + 1)
    for n, (visitor, moment) in enumerate(zip(visitors, moments, strict=True)):
        eligible = np.flatnonzero(may[n])
        order = best[n][found[n, best[n]] > -np.inf]
        listed, below = order[: places.length], order[places.length :]
        reserved = places.ends(visitor, moment, len(listed))
        if not reserved or not len(eligible):
            continue
        eligible = eligible[np.argsort(-found[n, eligible], kind="stable")]
        moved = with_places(listed, eligible, reserved)
        if moved is listed:
            continue
        values = found[n, listed]
        left = np.setdiff1d(listed, moved)
        left = left[np.argsort(-found[n, left], kind="stable")]
        if len(left):
            last, after = values[-1], found[n, below[0]]
            share = np.arange(1, len(left) + 1) / (len(left) + 1)
            found[n, left] = last + (after - last) * share
        found[n, moved] = values
    return found


@dataclass(frozen=True)
class PlacedScorer:
    """A scorer whose best items are the candidates, with places for new items.

    Args:
        scorer: of the whole catalogue.
        places: of the release.
        vocabulary: [I'], item ids of the rows of ``places.young``.
        retrieval_topk: candidates of a visitor.
    """

    scorer: RowScorer
    places: NewItemPlaces
    vocabulary: Sequence[str]
    retrieval_topk: int

    @property
    def name(self) -> str:
        """Name of the scorer."""
        return self.scorer.name

    @property
    def unplaced(self) -> RowScorer:
        """Return the scorer alone; see ``HasPlaces``."""
        return self.scorer

    def of_rows(self) -> PlacedScorer:
        """Return the same scorer, which reads the clicks of each query's row."""
        return replace(self, scorer=self.scorer.of_rows())

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the scores with places, float64 [n, I]; -inf where the visitor saw the item."""
        found = queries.mask(np.array(self.scorer.scores(queries, rows), np.float64), rows)
        candidates = np.zeros(found.shape, bool)
        np.put_along_axis(candidates, highest(found, self.retrieval_topk), True, axis=1)
        catalogue = rows_in(self.vocabulary, queries.item_ids)
        young = young_items(self.places.young, catalogue, queries.items)
        return placed(found, candidates, young, self.places, queries, rows)


def young_items(young: np.ndarray, catalogue: np.ndarray, items: int) -> np.ndarray:
    """Return which items of the catalogue are young, bool [I].

    Args:
        young: bool [m], of some items.
        catalogue: int64 [m], their rows of the catalogue; -1 where they have none.
        items: of the catalogue.
    """
    found = np.zeros(items, bool)
    found[catalogue[catalogue >= 0]] = young[catalogue >= 0]
    return found
