"""Hold held-out clicks with their candidates and what a ranker reads of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.bench.ranker.shown import ShownItems
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.item_rows import inverse
from recsys_assets.lib.evaluation.queries import VISITOR, Queries

#: One visitor in so many ends the training, and is not learnt.
ENDS = 7
_ROWS = 1 << 16  # pairs whose inputs are made at a time


@dataclass(frozen=True)
class RankerItems:
    """Holds what a ranker reads of the I items of the vocabulary."""

    cat: np.ndarray  # int32 [I, 4], ITEM_CATEGORICAL
    content: np.ndarray  # float32 [3 + I, 128], text and image by Categorify index
    tower: np.ndarray  # float32 [3 + I, 64], vectors of the item tower; zeros where it has none
    sizes: tuple[int, ...]  # of the tables: QUERY_CATEGORICAL, then ITEM_CATEGORICAL

    @classmethod
    def of(cls, generation: Generation, content: dict[str, Any]) -> RankerItems:
        """Read the catalogue of a generation; content: of its transforms.json."""
        items = len(content["vocabulary"][c.ITEM_ID])
        cat = np.full((items, len(c.ITEM_CATEGORICAL)), c.OOV_INDEX, np.int32)
        tower = np.zeros((c.VOCABULARY_START + items, generation.vectors.shape[1]), np.float32)
        cat[generation.vocabulary_rows] = generation.item_cat
        cat[:, 0] = np.arange(items) + c.VOCABULARY_START
        tower[generation.vocabulary_rows + c.VOCABULARY_START] = generation.vectors
        sizes = (content["cardinality"][name] for name in c.RANKER_CATEGORICAL)
        return cls(cat, np.asarray(generation.table, np.float32), tower, tuple(sizes))


@dataclass(frozen=True)
class Moment:
    """Holds Q held-out clicks and their N candidates, with all inputs of that moment."""

    labels: ClickLabels
    cat: np.ndarray  # int32 [Q, 5], QUERY_CATEGORICAL
    cont: np.ndarray  # float32 [Q, 8], QUERY_CONTINUOUS
    items: np.ndarray  # int32 [Q, 50], Categorify index of the visitor's clicks, newest first
    ages: np.ndarray  # float32 [Q, 50], hours since each
    counts: np.ndarray  # float32 [N, 6], CANDIDATE_CONTINUOUS
    shown: np.ndarray | None  # float32 [N, 4], ``shown.COLUMNS``; None: the log has no impression
    ends: np.ndarray  # bool [Q], whether the visitor ends the training and is not learnt

    @classmethod
    def of(
        cls, asked: Queries, labels: ClickLabels, generation: Generation, shown: ShownItems
    ) -> Moment:
        """Make the inputs.

        Args:
            asked: the clicks.
            labels: of the clicks, by rows of the generation's vocabulary.
            generation: with the popularity of the clicks' days.
            shown: impressions of the whole window.
        """
        inputs = generation.query_inputs(asked.frame)
        own = inverse(generation.vocabulary_rows, int(labels.rows.max(initial=-1)) + 1)
        day = generation.popularity.rows(asked.frame[c.TIMESTAMP].to_numpy())
        counts = np.zeros((len(labels.rows), len(c.CANDIDATE_CONTINUOUS)), np.float32)
        for start in range(0, len(counts), _ROWS):
            part = slice(start, start + _ROWS)
            item, query = np.maximum(own[labels.rows[part]], 0), labels.query[part]
            popular = generation.popularity.values[day[query], item]
            made = generation.pair_inputs(inputs, query, item, popular)["cont"]
            counts[part] = made[:, len(c.QUERY_CONTINUOUS) :]
        return cls(
            labels,
            inputs["cat"],
            inputs["cont"],
            inputs["items"],
            inputs["age_hours"],
            counts,
            shown.columns(asked, labels),
            ends_training(asked.frame),
        )


def ends_training(frame: pl.DataFrame) -> np.ndarray:
    """Return whether the visitor of each query ends the training, bool [Q].

    A visitor does so in all moments or in none.
    """
    names = frame[VISITOR].to_list()
    # another remainder than that of ``query_sources.folds``
    return np.array([zlib.crc32(f"end {name}".encode()) % ENDS == 0 for name in names], bool)
