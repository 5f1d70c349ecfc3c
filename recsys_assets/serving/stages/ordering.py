"""Order the final list: by blended score, or varied by sampling or novelty.

No category gets more than its share, and new items have reserved places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.columns import CATEGORY_L1, ITEM_CATEGORICAL, VOCABULARY_START
from recsys_assets.files import FileCorrupt, read_json
from recsys_assets.lib.ranking.ordering import (
    blend,
    capped,
    draw_probabilities,
    gumbel_top_k,
    highest_first,
    maximal_marginal_relevance,
)
from recsys_assets.lib.ranking.places import NewItemPlaces, is_every, with_places
from recsys_assets.lib.sources.stored import read_young
from recsys_assets.release_files import MODEL_FILES, SAMPLING, YOUNG
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.answer import Placing
from recsys_assets.serving.stages.candidates import parts, require_counts
from recsys_assets.serving.stages.context import ABSENT
from recsys_assets.serving.stages.stage import Stage, StageInputInvalid, Tensors
from recsys_assets.settings import LEAST_OFTEN, MOST_OFTEN, Settings

OFF, WEIGHTED, MMR = "off", "sampling", "mmr"
_CATEGORY = ITEM_CATEGORICAL.index(CATEGORY_L1)


def placing(scores: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return for each scored item whether it is in the list, or why not.

    Args:
        scores: [N], blended.
        order: int64 [≤ N], positions of the list.

    Returns:
        int32 [N], codes of ``Placing``.
    """
    found = np.full(len(scores), int(Placing.RANKED_BELOW), np.int32)
    if len(order):
        found[scores > scores[order].min()] = Placing.DIVERSITY
        found[order] = Placing.LISTED
    return found


def _where_drawn(
    drawn: np.ndarray, before: np.ndarray, order: np.ndarray, young: np.ndarray
) -> np.ndarray:
    """Return the probabilities of a list after young items moved; 0 for those that moved up.

    Args:
        drawn: float64 [n], of ``before``.
        before: int64 [n], positions of the list as it was drawn.
        order: int64 [n], positions of the list with its reserved places.
        young: bool [N].
    """
    place = np.full(len(young), len(before))
    place[before] = np.arange(len(before))
    by_position = np.zeros(len(young))
    by_position[before] = drawn
    moved = young[order] & (place[order] > np.arange(len(order)))
    return np.where(moved, 0.0, by_position[order])


@dataclass(frozen=True)
class Ordering:
    """``sampling.json``: how a release orders what it has scored."""

    ranking_topk: int
    diversity: str  # OFF, WEIGHTED or MMR
    temperature: float
    mmr_lambda: float
    category_cap: int  # items of one category_l1 in an answer; 0: no limit
    retrieval_weight: float
    #: one place in so many is reserved for new items; 0: none, as in releases before there were any
    new_item_places: int = 0

    @classmethod
    def of(cls, given: Any, source: object) -> Ordering:
        """Check the content of ``sampling.json``.

        Raises:
            FileCorrupt: a field is missing or invalid; the message names it.
        """
        rules: dict[str, tuple[str, Callable[[Any], bool]]] = {
            "ranking_topk": ("a whole number ≥ 1", lambda v: type(v) is int and v >= 1),
            "diversity": (f"{OFF!r}, {WEIGHTED!r} or {MMR!r}", lambda v: v in (OFF, WEIGHTED, MMR)),
            "temperature": ("a finite number > 0", lambda v: _number(v) and v > 0),
            "mmr_lambda": ("a number from 0 to 1", lambda v: _number(v) and 0 <= v <= 1),
            "category_cap": ("a whole number ≥ 0", lambda v: type(v) is int and v >= 0),
            "retrieval_weight": ("a finite number ≥ 0", lambda v: _number(v) and v >= 0),
            "new_item_places": (
                f"0, or a whole number from {MOST_OFTEN} to {LEAST_OFTEN}",
                is_every,
            ),
        }
        if isinstance(given, dict):
            given = {"new_item_places": 0, **given}
        for name, (form, fits) in rules.items():
            if not isinstance(given, dict) or name not in given or not fits(given[name]):
                found = given.get(name, "nothing") if isinstance(given, dict) else given
                raise FileCorrupt(
                    f"{source}: {name} must be {form}, got {found}; build the release again"
                )
        return cls(**{name: given[name] for name in rules})


def _number(value: Any) -> bool:
    """Return whether a value is a finite number, and no boolean."""
    return type(value) in (int, float) and bool(np.isfinite(value))


class SoftmaxSampling(Stage):
    """Orders each visitor's scored candidates by ``blend`` and cuts the list.

    As many items are kept as were asked for, RANKING_TOPK at most. Where the release reserves
    places for new items, the best of them move there.

    Args:
        ordering: of the release.
        places: for new items; None: none.
    """

    name = "softmax_sampling"
    inputs = (
        t.KEPT,
        t.KEPT_SIMILARITY,
        t.KEPT_COUNTS,
        t.SCORES,
        t.ITEM_CAT,
        t.ITEM_EMBEDDINGS,
        t.CONTEXT_TOP_K,
        t.CONTEXT_SEED,
        t.VISITOR_ID,
        t.CONTEXT_TIMESTAMP,
    )
    outputs = (
        t.SAMPLED_ITEMS,
        t.SAMPLED_SCORES,
        t.SAMPLED_PROPENSITIES,
        t.SAMPLED_COUNTS,
        t.BLENDED_SCORES,
        t.PLACING,
    )
    files = MODEL_FILES[name]

    def __init__(self, ordering: Ordering, places: NewItemPlaces | None = None) -> None:
        self._ordering, self._places = ordering, places

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> SoftmaxSampling:
        """Read ``sampling.json``, and which items are young if they have places.

        Raises:
            FileCorrupt: a file has another form.
        """
        ordering = Ordering.of(read_json(directory / SAMPLING), directory / SAMPLING)
        if not ordering.new_item_places:
            return cls(ordering)
        young = read_young(directory / YOUNG)
        return cls(ordering, NewItemPlaces(ordering.new_item_places, young, ordering.ranking_topk))

    def order_plainly(self) -> None:
        """Order by score alone from now on, without diversity and cap, as the evaluation does."""
        self._ordering = replace(self._ordering, diversity=OFF, category_cap=0)

    def run(self, inputs: Tensors) -> Tensors:
        """Return the lists, and for every candidate its score and placing."""
        kept, counts = inputs[t.KEPT.name], inputs[t.KEPT_COUNTS.name]
        require_counts(t.KEPT_COUNTS.name, counts, len(kept), len(inputs[t.CONTEXT_TOP_K.name]))
        for name in (
            t.SCORES.name,
            t.KEPT_SIMILARITY.name,
            t.ITEM_CAT.name,
            t.ITEM_EMBEDDINGS.name,
        ):
            if len(inputs[name]) != len(kept):
                raise StageInputInvalid(
                    f"{name} must be as many as kept, got {len(inputs[name])} and {len(kept)}"
                )
        items, scores, all_scores, placings, propensities = [], [], [], [], []
        wanted, seeds = inputs[t.CONTEXT_TOP_K.name].tolist(), inputs[t.CONTEXT_SEED.name].tolist()
        young = self._young(kept)
        visitors = zip(
            inputs[t.VISITOR_ID.name].tolist(),
            inputs[t.CONTEXT_TIMESTAMP.name].tolist(),
            strict=True,
        )
        for part, top_k, seed, visitor in zip(parts(counts), wanted, seeds, visitors, strict=True):
            blended = blend(
                inputs[t.SCORES.name][part],
                inputs[t.KEPT_SIMILARITY.name][part],
                self._ordering.retrieval_weight,
            )
            topk = (
                self._ordering.ranking_topk
                if top_k == ABSENT
                else min(top_k, self._ordering.ranking_topk)
            )
            categories = inputs[t.ITEM_CAT.name][part, _CATEGORY]
            vectors = inputs[t.ITEM_EMBEDDINGS.name][part]
            order = self._order(blended, topk, seed, categories, vectors)
            found = placing(blended, order)
            drawn = self._drawn(blended, order, categories)
            if young is not None:
                before = order
                order = self._with_places(order, blended, young[part], categories, visitor)
                if order is not before:
                    found[before], found[order] = Placing.NEW_ITEM, Placing.LISTED
                    drawn = _where_drawn(drawn, before, order, young[part])
            propensities.append(drawn)
            items.append(kept[part][order])
            all_scores.append(blended.astype(np.float32))
            scores.append(all_scores[-1][order])
            placings.append(found)
        return {
            t.SAMPLED_ITEMS.name: np.concatenate(items),
            t.SAMPLED_SCORES.name: np.concatenate(scores),
            t.SAMPLED_PROPENSITIES.name: np.concatenate(propensities).astype(np.float32),
            t.SAMPLED_COUNTS.name: np.array([len(one) for one in items], np.int32),
            t.BLENDED_SCORES.name: np.concatenate(all_scores),
            t.PLACING.name: np.concatenate(placings),
        }

    def _drawn(self, scores: np.ndarray, order: np.ndarray, categories: np.ndarray) -> np.ndarray:
        """Return the probability of each draw, float64 [n]; 0 for lists that are not drawn."""
        how = self._ordering
        if how.diversity != WEIGHTED:
            return np.zeros(len(order))
        return draw_probabilities(scores, order, how.temperature, categories, how.category_cap)

    def _young(self, kept: np.ndarray) -> np.ndarray | None:
        """Return which kept items are young, bool [N]; None where they have no places.

        Raises:
            StageInputInvalid: an item is not of the release.
        """
        if self._places is None:
            return None
        known = VOCABULARY_START + len(self._places.young)
        if kept.max(initial=0) >= known:
            raise StageInputInvalid(
                f"{t.KEPT.name} must be below {known}, got {kept.max()}; all models of a release "
                "must be of one generation"
            )
        return self._places.young.take(kept - VOCABULARY_START)

    def _with_places(
        self,
        order: np.ndarray,
        scores: np.ndarray,
        young: np.ndarray,
        categories: np.ndarray,
        visitor: tuple[str, int],
    ) -> np.ndarray:
        """Return the list with the best young candidates in its reserved places.

        Args:
            order: int64 [n], positions of the list.
            scores: [N], blended.
            young: bool [N].
            categories: [N].
            visitor: id and moment.
        """
        assert self._places is not None
        reserved = self._places.ends(*visitor, len(order))
        best = young.nonzero()[0]
        if not reserved or not len(best):
            return order
        best = best[highest_first(scores[best], len(best))]
        return with_places(order, best, reserved, categories, self._ordering.category_cap)

    def _order(
        self, scores: np.ndarray, topk: int, seed: int, categories: np.ndarray, vectors: np.ndarray
    ) -> np.ndarray:
        """Return the positions of the list, int64 [≤ topk]."""
        how = self._ordering
        if how.diversity == MMR:
            return maximal_marginal_relevance(
                scores, vectors, topk, how.mmr_lambda, categories, how.category_cap
            )
        if how.diversity == WEIGHTED:
            generator = np.random.default_rng(None if seed == ABSENT else seed)
            order = gumbel_top_k(scores, len(scores), how.temperature, generator)
        else:
            order = highest_first(scores, len(scores))
        return capped(order, categories, how.category_cap)[:topk]
