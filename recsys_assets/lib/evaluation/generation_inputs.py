"""Makes the inputs of a generation's models from raw feature rows, by its own transforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.features.batch_transform import BatchTransform, ClickHistories, RowTransform
from recsys_assets.lib.features.transforms import affinity
from recsys_assets.release_files import EMBEDDING_TABLE, ITEM_TOWER_INPUTS

_ITEM = c.RANKER_CATEGORICAL.index(c.ITEM_ID)
_CATEGORY = c.ITEM_CATEGORICAL.index(c.CATEGORY_L1)

Inputs = dict[str, np.ndarray]  # ONNX input → its rows


class GenerationInputs:
    """Makes inputs of query tower and ranker.

    Args:
        transforms: content of transforms.json.
        index: int [I'], Categorify index of each item.
        item_cat: int32 [I', 4], of each item; its ids are replaced by what the models take.
        item_cont: float32 [I', 1], of each item.
        table: float32 [at least 3 + I', 128], by Categorify index.
    """

    def __init__(
        self,
        transforms: Mapping[str, Any],
        index: np.ndarray,
        item_cat: np.ndarray,
        item_cont: np.ndarray,
        table: np.ndarray,
    ) -> None:
        self.transform: RowTransform = BatchTransform(transforms)
        self.index, self.table = index, table
        # the item tower may lack an item's id; the ranker gets all of them, as in serving
        ids = self.transform.transforms.of_models(np.asarray(index, np.int32))
        self.item_cat = np.concatenate([ids[:, None], item_cat[:, 1:]], axis=1).astype(np.int32)
        self.item_cont = item_cont

    def query_inputs(self, frame: pl.DataFrame) -> Inputs:
        """Make the inputs of the query tower.

        frame: INTERACTION_FEATURES and the lists of click_history.parquet, n rows.

        Returns:
            cat int32 [n, 5], cont float32 [n, 8], history float32 [n, 2·K], items int32 [n, 50],
            age_hours float32 [n, 50].
        """
        rows = self.transform.transform_frame(frame)
        clicks = ClickHistories.of(self.transform.transforms, frame)
        return {
            "cat": _pack(rows, c.QUERY_CATEGORICAL, np.int32),
            "cont": _pack(rows, c.QUERY_CONTINUOUS, np.float32),
            "history": clicks.categories.astype(np.float32),
            "items": clicks.items,
            "age_hours": clicks.ages,
        }

    def pair_inputs(
        self, asked: Inputs, query: np.ndarray, item: np.ndarray, popularity: np.ndarray
    ) -> Inputs:
        """Make the inputs of the ranker for m pairs of a query and an item.

        Args:
            asked: of ``query_inputs``.
            query: int [m], rows of ``asked``.
            item: int [m], rows of the generation's items.
            popularity: float32 [m], item_popularity of each item on the query's day.
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
        """Make the inputs of the ranker for exposures, each with its own item.

        An unknown item has no embeddings.
        """
        rows = self.transform.transform_frame(frame)
        cat = _pack(rows, c.RANKER_CATEGORICAL, np.int32)
        return {
            "cat": cat,
            "cont": _pack(rows, c.RANKER_CONTINUOUS, np.float32),
            "embeddings": self.table[self._table_rows(frame, cat[:, _ITEM])],
        }

    def _table_rows(self, frame: pl.DataFrame, known: np.ndarray) -> np.ndarray:
        """Return the row of the table of each exposure's item, int32 [N].

        known: int32 [N], the models' item ids, which do not tell added items apart.
        """
        transforms = self.transform.transforms
        if not transforms.added_items:
            return known
        return transforms.item_index.indices(frame[c.ITEM_ID].to_list())


def _pack(rows: pl.DataFrame, names: Sequence[str], dtype: type) -> np.ndarray:
    """Return columns of a frame as one contiguous matrix [N, len(names)]."""
    return np.ascontiguousarray(rows.select(names).to_numpy(), dtype)


class ItemSide(TypedDict):
    """Holds the item tables of a generation."""

    inputs: dict[str, np.ndarray]  # of item_tower_inputs.npz
    table: np.ndarray  # float32 [cardinality, 128]


def item_side(aligned: Artifact) -> ItemSide:
    """Read the item tables of an ``embeddings/aligned``."""
    with np.load(aligned.path(ITEM_TOWER_INPUTS), allow_pickle=False) as stored:
        return {
            "inputs": dict(stored),
            "table": np.load(aligned.path(EMBEDDING_TABLE), allow_pickle=False),
        }
