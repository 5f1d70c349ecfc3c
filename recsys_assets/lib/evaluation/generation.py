"""Runs a generation of models on queries: retrieval, both stages as served, and ranker.

Inputs are made from raw feature rows by the generation's own transforms. So an older generation,
such as the champion's, can be judged on days after its training: items are matched by their id, and
those that it does not know are never shown. ``GenerationInputs`` makes all model inputs.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.evaluation import ranker_metrics
from recsys_assets.lib.evaluation.daily_popularity import DailyPopularity
from recsys_assets.lib.evaluation.generation_inputs import GenerationInputs, Inputs, item_side
from recsys_assets.lib.evaluation.inner_products import Products, inner_products
from recsys_assets.lib.evaluation.item_rows import rows_in
from recsys_assets.lib.evaluation.list_metrics import Scorer, highest
from recsys_assets.lib.evaluation.placed import placed, young_items
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.query_sources import QuerySources
from recsys_assets.lib.exports import session
from recsys_assets.lib.features.batch_transform import read_transforms
from recsys_assets.lib.features.clock import zone_of
from recsys_assets.lib.features.item_index import catalogue_items
from recsys_assets.lib.ranking.ordering import LEAST_PROBABILITY, blend
from recsys_assets.lib.ranking.places import NewItemPlaces
from recsys_assets.lib.release.item_parts import item_parts
from recsys_assets.lib.release.releases import Release
from recsys_assets.lib.retrieval.tables import load_vectors
from recsys_assets.lib.sources.blend import Blended, retrieved_items
from recsys_assets.release_files import (
    MODEL,
    QUERY_TOWER,
    QUERY_TOWER_ONNX,
    RANKER_FILE,
    RANKER_ONNX,
    SAMPLING,
    model_file,
)

RETRIEVAL_TOPK = 300  # the settings' default
#: Rows per call of the ranker. More rows exceed the CPU caches: 500,000 rows/s at 2,048 rows on two
#: cores, 380,000 at 65,536.
_BATCH = 4096
#: Share of a score that each place among the candidates costs: of equal scores the candidate that
#: comes first wins, as in serving, and no other scores change places.
_TIE = 1e-14


@dataclass(frozen=True)
class System:
    """One scorer of a generation; see ``list_metrics.Scorer``."""

    name: str
    answer: Callable[[Queries, np.ndarray], np.ndarray]
    unplaced: Scorer | None = None  # see ``placed.HasPlaces``

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the scores of the queries ``rows``, float32 [n, I]."""
        return self.answer(queries, rows)


class Generation(GenerationInputs):
    """Transforms, models and item tables of one training, of I' items.

    Args:
        transforms: content of transforms.json.
        query_tower: an ONNX file.
        ranker: an ONNX file.
        vectors: float32 [I', 64].
        index: int [I'], Categorify index of each row of ``vectors``.
        inputs: content of item_tower_inputs.npz (index, cat [I', 4], cont [I', 1]), in any order.
        table: float32 [at least 3 + I', 128], by Categorify index.
        days_before: ``features/interactions`` of the day before each day of the queries.
        retrieval_weight: of the blend that orders the list, as in ``serving.stages.ordering``.
        retrieval_topk: candidates of the first stage.
        sources: what else finds candidates; None: retrieval alone.
        places: of the served lists, for new items; None: none.
    """

    def __init__(
        self,
        *,
        transforms: Mapping[str, Any],
        query_tower: Path,
        ranker: Path,
        vectors: np.ndarray,
        index: np.ndarray,
        inputs: Mapping[str, np.ndarray],
        table: np.ndarray,
        days_before: Sequence[Artifact],
        retrieval_weight: float,
        retrieval_topk: int = RETRIEVAL_TOPK,
        sources: QuerySources | None = None,
        places: NewItemPlaces | None = None,
    ) -> None:
        # of equal items the lower index comes first, as in serving's search
        order = np.argsort(index, kind="stable")
        vectors, index = vectors[order], index[order]
        catalogue = catalogue_items(transforms)
        self.item_ids = np.array(catalogue)[index - c.VOCABULARY_START]
        own = ranker_metrics.rows_of(inputs["index"], index)
        super().__init__(transforms, index, inputs["cat"][own], inputs["cont"][own], table)
        self.vectors = vectors
        self.popularity = DailyPopularity.read(
            days_before, self.item_ids.tolist(), zone_of(transforms)
        )
        self.retrieval_weight = retrieval_weight
        self.retrieval_topk, self.sources, self.places = retrieval_topk, sources, places
        self.products: Products = inner_products
        self.vocabulary_rows = np.asarray(index, np.int64) - c.VOCABULARY_START
        self._own_row = np.full(len(catalogue), -1, np.int64)
        self._own_row[self.vocabulary_rows] = np.arange(len(index))
        self._query_tower, self._ranker = (
            session.open_model(query_tower),
            session.open_model(ranker),
        )
        self._asked: tuple[Queries, Inputs, np.ndarray] | None = None

    @classmethod
    def of_training(
        cls,
        *,
        models: Artifact,
        workflows: Artifact,
        aligned: Artifact,
        vectors: Artifact,
        days_before: Sequence[Artifact],
        retrieval_weight: float,
        retrieval_topk: int = RETRIEVAL_TOPK,
        sources: QuerySources | None = None,
        places: NewItemPlaces | None = None,
    ) -> Generation:
        """Open the models of ``exports/onnx`` with the parts that they were trained with."""
        rows, index = load_vectors(vectors)
        return cls(
            transforms=read_transforms(workflows),
            query_tower=models.path(QUERY_TOWER_ONNX),
            ranker=models.path(RANKER_ONNX),
            vectors=rows,
            index=index,
            **item_side(aligned),
            days_before=days_before,
            retrieval_weight=retrieval_weight,
            retrieval_topk=retrieval_topk,
            sources=sources,
            places=places,
        )

    @classmethod
    def of_release(
        cls,
        store: ArtifactStore,
        release: Release,
        days_before: Sequence[Artifact],
        retrieval_topk: int = RETRIEVAL_TOPK,
        sources: QuerySources | None = None,
        places: NewItemPlaces | None = None,
        added: Artifact | None = None,
    ) -> Generation:
        """Open a release, full or fine-tuned, with its item tables.

        added: see ``item_parts``.

        Raises:
            ArtifactMissing: a part of the generation no longer exists.
        """
        parts, payload = item_parts(store, release, added), release.artifact
        rows, index = load_vectors(parts.vectors)
        return cls(
            transforms=read_transforms(parts.workflows),
            query_tower=payload.path(model_file(QUERY_TOWER, MODEL)),
            ranker=payload.path(RANKER_FILE),
            vectors=rows,
            index=index,
            **item_side(parts.aligned),
            days_before=days_before,
            retrieval_weight=json.loads(
                payload.path(model_file("softmax_sampling", SAMPLING)).read_text()
            )["retrieval_weight"],
            retrieval_topk=retrieval_topk,
            sources=sources,
            places=places,
        )

    def with_models(self, query_tower: Path, ranker: Path) -> Generation:
        """Return the same generation with other ONNX files, as a fine-tune has them."""
        changed = copy.copy(self)
        changed._query_tower, changed._ranker = (
            session.open_model(query_tower),
            session.open_model(ranker),
        )
        changed._asked = None
        return changed

    def with_sources(
        self, sources: QuerySources | None, places: NewItemPlaces | None = None
    ) -> Generation:
        """Return the same generation with other sources, and places for new items."""
        changed = copy.copy(self)
        changed.sources, changed.places = sources, places
        return changed

    def without_sources(self) -> Generation:
        """Return the same generation with retrieval alone, and no places for new items."""
        return self.with_sources(None)

    def of_rows(self) -> Generation:
        """Return the same generation whose sources read the clicks of each row, as models do."""
        changed = copy.copy(self)
        changed.sources = None if self.sources is None else self.sources.of_rows()
        return changed

    # --- answers
    @property
    def retrieval(self) -> System:
        """First stage alone: the inner product of query and item vectors."""
        return System("retrieval", self._retrieval_scores)

    @property
    def served(self) -> System:
        """Both stages and the seen filter, as serving runs them.

        The retrieval_topk nearest unseen items are ordered by the ranker. Serving widens its search
        until it has as many candidates, so the backfill list plays no part while the index finds
        all items. Stock and hidden items of today do not apply to past days. Items that left the
        catalogue count as hidden.

        New items have their places, if the release has some.

        Serving cuts the list. Here all candidates keep their order, so recall@300 is the share of
        clicks among the candidates of the ranker.
        """
        unplaced = None if self.places is None else self.with_sources(self.sources).served
        return System("served", self._served_scores, unplaced)

    def click_scores(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the ranker's click probabilities of feature rows, float32 [N]."""
        parts = [
            self._score(self.row_inputs(frame[start : start + _BATCH * 8]))
            for start in range(0, frame.height, _BATCH * 8)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _retrieval_scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        place = self._places(queries)
        scores = np.full((len(rows), queries.items), -np.inf, np.float32)
        scores[:, place[place >= 0]] = self._near(queries, rows)[:, place >= 0]
        return scores

    def retrieved(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the nearest items, seen or not: vocabulary rows int64 [n, R], nearest first."""
        near = self._near(queries, rows)
        return np.asarray(self.vocabulary_rows[highest(near, retrieved_items(self.retrieval_topk))])

    def knows(self, rows: np.ndarray) -> np.ndarray:
        """Return whether the generation has vectors of items, bool [m]; rows: of the vocabulary."""
        return np.asarray(self._own_row[rows] >= 0)

    def logits(self, queries: Queries, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the ranker's log-odds of pairs of a query and an item, float32 [m].

        Args:
            queries: that are asked.
            query: int64 [m], rows of the queries.
            rows: int64 [m], of the vocabulary.
        """
        clicked = self._probabilities(queries, query, self._own_row[rows])
        clicked = np.clip(clicked, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        return np.asarray(np.log(clicked / (1 - clicked)), np.float32)

    def _probabilities(self, queries: Queries, query: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Return click probabilities of pairs, float32 [m]; query and item: own rows."""
        inputs = self._ask(queries)[0]
        day = self.popularity.rows(queries.frame[c.TIMESTAMP].to_numpy())
        found = np.empty(len(query), np.float32)
        for start in range(0, len(query), _BATCH):
            part = slice(start, start + _BATCH)
            of_day = self.popularity.values[day[query[part]], item[part]]
            found[part] = self._score(self.pair_inputs(inputs, query[part], item[part], of_day))
        return found

    def _served_scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        scores = (
            self._served_by_models(queries, rows)
            if self.sources is None
            else self._served_by_sources(self.sources, queries, rows)
        )
        if self.places is None:
            return scores
        young = self.places.young[self.vocabulary_rows]
        young = young_items(young, self._places(queries), queries.items)
        return placed(scores, scores > -np.inf, young, self.places, queries, rows)

    def _served_by_models(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the scores of what retrieval finds, float64 [n, I]."""
        place = self._places(queries)
        # [n, I']; items outside the catalogue take the added column: they are never shown
        seen = np.concatenate([queries.seen(rows), np.ones((len(rows), 1), bool)], axis=1)[:, place]
        similarity = self._near(queries, rows)
        unseen = np.where(seen, np.float32(-np.inf), similarity)
        found = highest(unseen, self.retrieval_topk)
        query, at = np.nonzero(np.take_along_axis(unseen, found, axis=1) > -np.inf)
        item = found[query, at]
        probability = self._probabilities(queries, rows[query], item)
        near = similarity[query, item]
        nearest = np.full(len(rows), -np.inf, np.float32)
        np.maximum.at(nearest, query, near)
        probability = blend(probability, near, self.retrieval_weight, nearest[query])
        scores = np.full((len(rows), queries.items), -np.inf)
        scores[query, place[item]] = probability * (1 - _TIE * at)
        return scores

    def _served_by_sources(
        self, sources: QuerySources, queries: Queries, rows: np.ndarray
    ) -> np.ndarray:
        """Return the scores of the candidates of all sources, float32 [n, I]."""
        place, seen = self._places(queries), queries.seen(rows)
        near = self._near(queries, rows)
        nearest = highest(near, retrieved_items(self.retrieval_topk))
        of_query, ats, items, found = [], [], [], []
        for n, blended in enumerate(sources.blended(queries, rows, self.vocabulary_rows[nearest])):
            own = self._own_row[blended.rows]
            kept = own >= 0
            kept[kept] = (place[own[kept]] >= 0) & ~seen[n, place[own[kept]]]
            own, scores = own[kept][: self.retrieval_topk], blended.scores[kept]
            scores = scores[: self.retrieval_topk]
            if len(own) < min(self.retrieval_topk, len(self.index)):
                own, scores = self._filled(own, scores, near[n], place, seen[n], blended)
            of_query.append(np.full(len(own), n))
            ats.append(np.arange(len(own)))
            items.append(own)
            found.append(scores)
        query, item = np.concatenate(of_query), np.concatenate(items)
        weighted = np.concatenate(found)
        probability = self._probabilities(queries, rows[query], item)
        best = np.full(len(rows), -np.inf, np.float32)
        np.maximum.at(best, query, weighted)
        # float64, as in serving: float32 has no number for the last of a long list
        probability = blend(probability, weighted, 1.0, best[query])
        scores = np.full((len(rows), queries.items), -np.inf)
        scores[query, place[item]] = probability * (1 - _TIE * np.concatenate(ats))
        return scores

    def _filled(
        self,
        own: np.ndarray,
        scores: np.ndarray,
        near: np.ndarray,
        place: np.ndarray,
        seen: np.ndarray,
        blended: Blended,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add the nearest unseen items that no source lists, with the lowest score of the union."""
        further = near.copy()
        known = self._own_row[blended.rows]
        further[known[known >= 0]] = -np.inf
        inside = place >= 0
        further[inside] = np.where(seen[place[inside]], -np.inf, further[inside])
        further[~inside] = -np.inf
        wanted = self.retrieval_topk - len(own)
        best = highest(further[None], wanted)[0]
        best = best[further[best] > -np.inf]
        least = blended.scores.min() if len(blended.scores) else np.float32(0)
        return (
            np.concatenate([own, best]),
            np.concatenate([scores, np.full(len(best), least, np.float32)]),
        )

    def _ask(self, queries: Queries) -> tuple[Inputs, np.ndarray]:
        """Return inputs and embeddings [Q, 64] of all queries, made once per Queries."""
        if self._asked is None or self._asked[0] is not queries:
            inputs = self.query_inputs(queries.frame)
            self._asked = (queries, inputs, session.run_model(self._query_tower, inputs))
        return self._asked[1:]

    def _near(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the similarity of each item, float32 [n, I']."""
        return self.products(self._ask(queries)[1][rows], self.vectors)

    def _places(self, queries: Queries) -> np.ndarray:
        """Return the catalogue row of each item, int64 [I']; -1 where it has none."""
        return rows_in(self.item_ids, queries.item_ids)

    def _score(self, inputs: Inputs) -> np.ndarray:
        return session.run_model(self._ranker, inputs, _BATCH).reshape(-1)
