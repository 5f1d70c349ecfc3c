"""A generation of models as one thing that answers queries: its retrieval, the two stages as
served, its ranker.

Inputs are made from raw feature rows by the generation's own transforms, so that an older one, the
champion, can be judged on days that it has never seen: items are matched by their id, and those
that it does not know are never shown. ``query_inputs``, ``pair_inputs`` and ``row_inputs`` are the
one place where model inputs are made.
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
from recsys_assets.columns import SECONDS_PER_DAY
from recsys_assets.lib.evaluation import ranker_metrics
from recsys_assets.lib.evaluation.list_metrics import highest
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.exports import session
from recsys_assets.lib.features.batch_transform import (
    BatchTransform,
    RowTransform,
    history_matrix,
    read_transforms,
)
from recsys_assets.lib.features.point_in_time import HISTORY
from recsys_assets.lib.features.transforms import affinity, log_count
from recsys_assets.lib.ranking.ordering import blend
from recsys_assets.lib.release.releases import Release, open_release
from recsys_assets.lib.retrieval.tables import load_vectors
from recsys_assets.release_files import (
    EMBEDDING_TABLE,
    ITEM_TOWER_INPUTS,
    MODEL,
    QUERY_TOWER,
    QUERY_TOWER_ONNX,
    RANKER_FILE,
    RANKER_ONNX,
    SAMPLING,
    TRANSFORMS,
    model_file,
)

RETRIEVAL_TOPK = 300  # the settings' default
#: Rows a call of the ranker: more no longer fit the caches (500,000 rows/s at 2,048 on two cores,
#: 380,000 at 65,536).
_BATCH = 4096
_ITEM = c.RANKER_CATEGORICAL.index(c.ITEM_ID)
_CATEGORY = c.ITEM_CATEGORICAL.index(c.CATEGORY_L1)

Inputs = dict[str, np.ndarray]  # ONNX input → its rows


@dataclass(frozen=True)
class DailyPopularity:
    """item_popularity as D days in a row see it: of the clicks of the day before each."""

    first: int  # day since 1970 that row 0 is for
    values: np.ndarray  # float32 [D, I']

    @classmethod
    def read(cls, days_before: Sequence[Artifact], item_ids: Sequence[str]) -> DailyPopularity:
        """Out of ``features/interactions`` of the days before; items that are not asked for are
        left out, others have 0.

        Raises:
            ValueError: the artifacts are not of days in a row.
        """
        counts = pl.concat(
            [pl.read_parquet(artifact.path("item_popularity.parquet")) for artifact in days_before]
        )
        days = np.unique(counts[c.TIMESTAMP].to_numpy()) // SECONDS_PER_DAY
        if len(days) != len(days_before) or np.any(np.diff(days) != 1):
            raise ValueError(
                f"item_popularity of {len(days_before)} days gives the days {days.tolist()} since "
                "1970; give "
                "features/interactions of days in a row"
            )
        known = counts.join(
            pl.DataFrame({c.ITEM_ID: item_ids}, schema={c.ITEM_ID: pl.String}).with_row_index(
                "item"
            ),
            on=c.ITEM_ID,
        )
        values = np.zeros((len(days), len(item_ids)), np.float32)
        values[
            known[c.TIMESTAMP].to_numpy() // SECONDS_PER_DAY - days[0], known["item"].to_numpy()
        ] = known[c.ITEM_CLICKS].to_numpy()
        return cls(int(days[0]), log_count(values))

    def rows(self, timestamp: np.ndarray) -> np.ndarray:
        """int64 [n]: row of ``values`` for each moment; raises ValueError naming a day that it has
        not.
        """
        rows = timestamp // SECONDS_PER_DAY - self.first
        if (outside := (rows < 0) | (rows >= len(self.values))).any():
            raise ValueError(
                f"popularity is known for {len(self.values)} days from day {self.first} since 1970 "
                "on, not for "
                f"{np.unique(rows[outside] + self.first).tolist()}; give features/interactions of "
                "the day before each"
            )
        return rows


@dataclass(frozen=True)
class System:
    """One scorer of a generation (see ``list_metrics``)."""

    name: str
    answer: Callable[[Queries, np.ndarray], np.ndarray]

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        return self.answer(queries, rows)


class Generation:
    """Transforms, models and the item side of one training.

    Args:
        transforms: content of transforms.json.
        query_tower, ranker: ONNX files.
        vectors: float32 [I', 64]. index: int [I'], Categorify index of each row.
        inputs: of ``item_tables.item_tower_inputs`` (index, cat [I', 4], cont [I', 1]), in any
            order.
        table: float32 [cardinality, 128], by Categorify index.
        days_before: ``features/interactions`` of the day before each day that will be asked about.
        retrieval_weight: of the blend that orders the list, as ``serving.stages.ordering`` has it.
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
    ):
        self.transform: RowTransform = BatchTransform(transforms)
        self.item_ids = np.array(transforms["vocabulary"][c.ITEM_ID])[index - c.VOCABULARY_START]
        self.vectors, self.index, self.table = vectors, index, table
        own = ranker_metrics.rows_of(inputs["index"], index)
        # the item tower may know an item by its content alone; the ranker knows every item by its
        # id, as in serving
        self.item_cat = np.concatenate([index[:, None], inputs["cat"][own][:, 1:]], axis=1).astype(
            np.int32
        )
        self.item_cont = inputs["cont"][own]
        self.popularity = DailyPopularity.read(days_before, self.item_ids.tolist())
        self.retrieval_weight = retrieval_weight
        self.retrieval_topk = retrieval_topk
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
    ) -> Generation:
        """Of ``exports/onnx`` and what it was trained with."""
        rows, index = load_vectors(vectors)
        return cls(
            transforms=read_transforms(workflows),
            query_tower=models.path(QUERY_TOWER_ONNX),
            ranker=models.path(RANKER_ONNX),
            vectors=rows,
            index=index,
            **_item_side(aligned),
            days_before=days_before,
            retrieval_weight=retrieval_weight,
            retrieval_topk=retrieval_topk,
        )

    @classmethod
    def of_release(
        cls,
        store: ArtifactStore,
        release: Release,
        days_before: Sequence[Artifact],
        retrieval_topk: int = RETRIEVAL_TOPK,
    ) -> Generation:
        """Of a release, full or fine-tuned; its item side is that of its generation.

        Raises:
            ArtifactMissing: a part that the generation was made from no longer exists.
        """
        made_from = open_release(store, release.generation).artifact.manifest["inputs"]
        rows, index = load_vectors(
            store.open(store.open(made_from["faiss_index"]).manifest["inputs"]["item_vectors"])
        )
        payload = release.artifact
        transforms = json.loads(
            payload.path(model_file("nvt_user_transform", TRANSFORMS)).read_text()
        )
        return cls(
            transforms=transforms,
            query_tower=payload.path(model_file(QUERY_TOWER, MODEL)),
            ranker=payload.path(RANKER_FILE),
            vectors=rows,
            index=index,
            **_item_side(store.open(made_from["aligned"])),
            days_before=days_before,
            retrieval_weight=json.loads(
                payload.path(model_file("softmax_sampling", SAMPLING)).read_text()
            )["retrieval_weight"],
            retrieval_topk=retrieval_topk,
        )

    def with_models(self, query_tower: Path, ranker: Path) -> Generation:
        """The same generation with other models, as a fine-tune changes them: ONNX files."""
        changed = copy.copy(self)
        changed._query_tower, changed._ranker = (
            session.open_model(query_tower),
            session.open_model(ranker),
        )
        changed._asked = None
        return changed

    # --- model inputs, made here alone
    def query_inputs(self, frame: pl.DataFrame) -> Inputs:
        """Feature rows (INTERACTION_FEATURES and click history, n) → inputs of the query tower: cat
        int32 [n, 5], cont float32 [n, 8], history float32 [n, 2·K]."""
        rows = self.transform.transform_frame(frame)
        history = history_matrix(
            self.transform.transforms.vocabulary[c.CATEGORY_L1],
            frame[HISTORY],
            frame[c.CLICKS_7D].to_numpy(),
            frame[c.CLICKS_24H].to_numpy(),
        )
        return {
            "cat": _pack(rows, c.QUERY_CATEGORICAL, np.int32),
            "cont": _pack(rows, c.QUERY_CONTINUOUS, np.float32),
            "history": history.astype(np.float32),
        }

    def pair_inputs(
        self, asked: Inputs, query: np.ndarray, item: np.ndarray, popularity: np.ndarray
    ) -> Inputs:
        """Pairs of a query and an item, int [m] both (rows of ``asked`` and of the generation's
        items) → inputs of the ranker.

        asked: of ``query_inputs``. popularity: float32 [m], item_popularity of each item on the
        query's day.
        """
        history, categories = asked["history"], asked["history"].shape[1] // 2
        category = self.item_cat[item, _CATEGORY]
        long, recent = history[:, :categories], history[:, categories:]
        near = affinity(
            long[query, category],
            recent[query, category],
            long.sum(axis=1)[query],
            recent.sum(axis=1)[query],
        )
        return {
            "cat": np.concatenate([asked["cat"][query], self.item_cat[item]], axis=1),
            "cont": np.concatenate(
                [asked["cont"][query], self.item_cont[item], popularity[:, None], near], axis=1
            ),
            "embeddings": self.table[self.index[item]],
        }

    def row_inputs(self, frame: pl.DataFrame) -> Inputs:
        """Feature rows of exposures, each with its own item → inputs of the ranker; an unknown item
        has no embeddings.
        """
        rows = self.transform.transform_frame(frame)
        cat = _pack(rows, c.RANKER_CATEGORICAL, np.int32)
        return {
            "cat": cat,
            "cont": _pack(rows, c.RANKER_CONTINUOUS, np.float32),
            "embeddings": self.table[cat[:, _ITEM]],
        }

    # --- answers
    @property
    def retrieval(self) -> System:
        """The first stage alone: the inner product of query and item vectors."""
        return System("retrieval", self._retrieval_scores)

    @property
    def served(self) -> System:
        """Both stages and the filter as serving runs them: the retrieval_topk nearest items that
        were not seen, ordered by the ranker. Serving searches ever more widely until it has as
        many, so that popular items fill no list while an index finds all; what is out of stock or
        hidden today says nothing of the past.

        Serving cuts the answer; here the order of all candidates is kept, so that recall@300 says
        how many of the clicks the ranker got to see.
        """
        return System("served", self._served_scores)

    def click_scores(self, frame: pl.DataFrame) -> np.ndarray:
        """The ranker's click probabilities of feature rows: float32 [N]."""
        parts = [
            self._score(self.row_inputs(frame[start : start + _BATCH * 8]))
            for start in range(0, frame.height, _BATCH * 8)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _retrieval_scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        place = self._places(queries)
        scores = np.full((len(rows), queries.items), -np.inf, np.float32)
        scores[:, place[place >= 0]] = (self._ask(queries)[1][rows] @ self.vectors.T)[:, place >= 0]
        return scores

    def _served_scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        place = self._places(queries)
        seen = np.concatenate([queries.seen(rows), np.zeros((len(rows), 1), bool)], axis=1)[
            :, place
        ]  # [n, I'], unknown: unseen
        inputs, vectors = self._ask(queries)
        similarity = vectors[rows] @ self.vectors.T
        unseen = np.where(seen, np.float32(-np.inf), similarity)
        found = highest(unseen, self.retrieval_topk)
        query, at = np.nonzero(np.take_along_axis(unseen, found, axis=1) > -np.inf)
        item = found[query, at]
        of_day = self.popularity.values[
            self.popularity.rows(queries.frame[c.TIMESTAMP].to_numpy()[rows])[query], item
        ]
        probability = np.empty(len(query), np.float32)
        for start in range(0, len(query), _BATCH):
            part = slice(start, start + _BATCH)
            probability[part] = self._score(
                self.pair_inputs(inputs, rows[query[part]], item[part], of_day[part])
            )
        near = similarity[query, item]
        nearest = np.full(len(rows), -np.inf, np.float32)
        np.maximum.at(nearest, query, near)
        probability = blend(probability, near, self.retrieval_weight, nearest[query]).astype(
            np.float32
        )
        scores = np.full((len(rows), queries.items + 1), -np.inf, np.float32)
        scores[query, place[item]] = (
            # an item that the catalogue lacks goes to the last column, which is cut off
            probability
        )
        return scores[:, :-1]

    def _ask(self, queries: Queries) -> tuple[Inputs, np.ndarray]:
        """Inputs and embeddings [Q, 64] of all queries, made once for a set of them."""
        if self._asked is None or self._asked[0] is not queries:
            inputs = self.query_inputs(queries.frame)
            self._asked = (queries, inputs, session.run_model(self._query_tower, inputs))
        return self._asked[1:]

    def _places(self, queries: Queries) -> np.ndarray:
        """int64 [I']: the catalogue's row of each of the generation's items; -1 where it has
        none.
        """
        row = {item: n for n, item in enumerate(queries.item_ids.tolist())}
        return np.array([row.get(item, -1) for item in self.item_ids.tolist()], np.int64)

    def _score(self, inputs: Inputs) -> np.ndarray:
        return session.run_model(self._ranker, inputs, _BATCH).reshape(-1)


def _item_side(aligned: Artifact) -> dict[str, Any]:
    with np.load(aligned.path(ITEM_TOWER_INPUTS), allow_pickle=False) as stored:
        return {
            "inputs": dict(stored),
            "table": np.load(aligned.path(EMBEDDING_TABLE), allow_pickle=False),
        }


def _pack(rows: pl.DataFrame, names: Sequence[str], dtype: type) -> np.ndarray:
    """Columns of a frame as one contiguous matrix [N, len(names)]."""
    return np.ascontiguousarray(rows.select(names).to_numpy(), dtype)
