"""Compute vectors with both towers and write the files of a two-tower artifact."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from merlin.models.tf import TwoTowerModelV2
from merlin.schema import Schema

from recsys_assets import columns as c
from recsys_assets.release_files import ITEM_TOWER_ONNX, PARITY, QUERY_TOWER_ONNX
from recsys_assets.training import export
from recsys_assets.training.loaders import cardinalities, history_of, latest_of, pack
from recsys_assets.training.models import TwoTowerShape, save_checkpoint
from recsys_assets.training.retrieval import query_graph
from recsys_assets.training.step import Step


@dataclass(frozen=True)
class Towers:
    """Holds two encoders and the functions that are exported."""

    query: tf.keras.Model
    item: tf.keras.Model
    shape: TwoTowerShape
    query_function: tf.types.experimental.GenericFunction
    item_function: tf.types.experimental.GenericFunction

    @classmethod
    def of(cls, model: TwoTowerModelV2, shape: TwoTowerShape) -> Towers:
        """Return the towers of a model."""
        query, item = model.query_encoder, model.candidate_encoder
        return cls(
            query, item, shape, export.query_function(query, shape), export.item_function(item)
        )

    def build(self) -> None:
        """Create the variables, so that a checkpoint can be read into them."""
        self.query_function.python_function(
            *(tf.zeros([1, one.shape[1]], one.dtype) for one in self.query_function.input_signature)
        )
        self.item_function.python_function(
            tf.zeros([1, len(c.ITEM_CATEGORICAL)], tf.int32),
            tf.zeros([1, len(c.ITEM_CONTINUOUS)]),
            tf.zeros([1, 2 * c.EMBEDDING_DIM]),
        )

    @property
    def parts(self) -> dict[str, tf.keras.Model]:
        """Return the named layers of a checkpoint."""
        return {"query": self.query, "item": self.item}

    def query_vectors(self, rows: pd.DataFrame) -> np.ndarray:
        """Return [B, 64] unit vectors of transformed rows.

        The rows hold their click history where the query tower reads one.
        """
        return export.apply(self.query_function, query_inputs(rows, self.shape))

    def item_vectors(self, cat: np.ndarray, cont: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        """Return [I, 64] unit vectors of items.

        Args:
            cat: int32 [I, 4] ITEM_CATEGORICAL.
            cont: float32 [I, 1] ITEM_CONTINUOUS.
            embeddings: float32 [I, 128], text then image.
        """
        return export.apply(
            self.item_function, {export.CAT: cat, export.CONT: cont, export.EMBEDDINGS: embeddings}
        )

    def scores(self, rows: pd.DataFrame, table: np.ndarray) -> np.ndarray:
        """Return [N] dot products of each row's visitor and item."""
        items = export.apply(self.item_function, item_inputs(rows, table))
        products: np.ndarray = np.einsum("nd,nd->n", self.query_vectors(rows), items)
        return products


def query_inputs(rows: pd.DataFrame, shape: TwoTowerShape) -> dict[str, np.ndarray]:
    """Return the packed inputs of the exported query tower."""
    packed = {
        export.CAT: pack(rows, c.QUERY_CATEGORICAL),
        export.CONT: pack(rows, c.QUERY_CONTINUOUS),
    }
    if shape.categories:
        packed[export.HISTORY] = history_of(rows, shape.categories).astype(np.float32)
    if shape.items:
        packed |= dict(zip(c.QUERY_OF_ITEMS, latest_of(rows), strict=True))
    return packed


def item_inputs(rows: pd.DataFrame, table: np.ndarray) -> dict[str, np.ndarray]:
    """Return the packed inputs of the exported item tower."""
    return {
        export.CAT: pack(rows, c.ITEM_CATEGORICAL),
        export.CONT: pack(rows, c.ITEM_CONTINUOUS),
        export.EMBEDDINGS: table[rows[c.ITEM_ID].to_numpy()],
    }


def read_shape(champion: Path) -> TwoTowerShape:
    """Return the shape in a two-tower artifact's config.json."""
    shape = json.loads((champion / "config.json").read_text())["shape"]
    return TwoTowerShape(**{**shape, "layers": tuple(shape["layers"])})


def write(
    step: Step[Any],
    pair: Towers,
    schema: Schema,
    rows: pd.DataFrame,
    table: np.ndarray,
    batch_size: int,
    frozen_item_tower: Path | None = None,
) -> None:
    """Write the files of a two-tower artifact and report the largest differences.

    The files are checkpoint, config, both ONNX files and parity.npz (query_cat, query_cont,
    query_history, query_items, query_age_hours, query_embedding, item_cat, item_cont,
    item_embeddings, item_embedding).

    Args:
        step: the step that writes.
        pair: trained towers.
        schema: the data set's.
        rows: transformed rows from which the parity sample is drawn.
        table: the aligned table.
        batch_size: of the training, for config.json.
        frozen_item_tower: an item tower with the same weights; it is copied and not converted
            again.
    """
    save_checkpoint(step.output, pair.parts)
    config = {
        "model": "two_tower",
        "shape": dataclasses.asdict(pair.shape),
        "batch_size": batch_size,
        "cardinality": cardinalities(schema),
        "opset": export.OPSET,
    }
    (step.output / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    queries = export.sample(query_inputs(rows, pair.shape))
    query_path, item_path = step.output / QUERY_TOWER_ONNX, step.output / ITEM_TOWER_ONNX
    query_vectors = export.apply(pair.query_function, queries)
    query_graph.write_query_tower(pair.query, pair.shape, query_path)
    query_difference = export.onnx_difference(query_path, queries, query_vectors)
    items = export.sample(item_inputs(rows, table))
    if frozen_item_tower is None:
        item_vectors, item_difference = export.export(pair.item_function, items, item_path)
    else:
        shutil.copyfile(frozen_item_tower, item_path)
        item_vectors = export.apply(pair.item_function, items)
        item_difference = export.onnx_difference(item_path, items, item_vectors)
    sides = {
        "query": {**queries, export.EMBEDDING: query_vectors},
        "item": {**items, export.EMBEDDING: item_vectors},
    }
    export.write_arrays(
        step.output / PARITY,
        {
            f"{side}_{name}": values
            for side, arrays in sides.items()
            for name, values in arrays.items()
        },
    )
    step.report(
        query_tower_onnx_difference=query_difference, item_tower_onnx_difference=item_difference
    )
