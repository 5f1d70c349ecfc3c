"""Both towers by their packed inputs: vectors of rows and items, and the files of a two-tower
artifact.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from merlin.models.tf import TwoTowerModelV2
from merlin.schema import Schema

from recsys_assets import columns as c
from recsys_assets.release_files import ITEM_TOWER_ONNX, PARITY, QUERY_TOWER_ONNX
from recsys_assets.training import export
from recsys_assets.training.loaders import cardinalities, history_of, pack
from recsys_assets.training.models import TwoTowerShape, save_checkpoint
from recsys_assets.training.retrieval import query_graph
from recsys_assets.training.step import Step


@dataclass(frozen=True)
class Towers:
    """Two encoders and the functions with the signature that is exported."""

    query: tf.keras.Model
    item: tf.keras.Model
    shape: TwoTowerShape
    query_function: tf.types.experimental.GenericFunction
    item_function: tf.types.experimental.GenericFunction

    @classmethod
    def of(cls, model: TwoTowerModelV2, shape: TwoTowerShape) -> Towers:
        query, item = model.query_encoder, model.candidate_encoder
        return cls(
            query, item, shape, export.query_function(query, shape), export.item_function(item)
        )

    def build(self) -> None:
        """Create the variables, so that a checkpoint can be read into them."""
        history = [tf.zeros([1, 2 * self.shape.categories])] if self.shape.categories else []
        self.query_function.python_function(
            tf.zeros([1, len(c.QUERY_CATEGORICAL)], tf.int32),
            tf.zeros([1, len(c.QUERY_CONTINUOUS)]),
            *history,
        )
        self.item_function.python_function(
            tf.zeros([1, len(c.ITEM_CATEGORICAL)], tf.int32),
            tf.zeros([1, len(c.ITEM_CONTINUOUS)]),
            tf.zeros([1, 2 * c.EMBEDDING_DIM]),
        )

    @property
    def parts(self) -> dict[str, tf.keras.Model]:
        return {"query": self.query, "item": self.item}

    def query_vectors(self, rows: pd.DataFrame) -> np.ndarray:
        """[B, 64] unit vectors of transformed rows (with their click history, where the query tower
        reads one).
        """
        return export.apply(self.query_function, query_inputs(rows, self.shape))

    def item_vectors(self, cat: np.ndarray, cont: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        """[I, 64] unit vectors of items given by cat int32 [I, 4], cont float32 [I, 1], embeddings
        float32 [I, 128].
        """
        return export.apply(
            self.item_function, {export.CAT: cat, export.CONT: cont, export.EMBEDDINGS: embeddings}
        )

    def scores(self, rows: pd.DataFrame, table: np.ndarray) -> np.ndarray:
        """[N] dot product of each row's visitor and item."""
        items = export.apply(self.item_function, item_inputs(rows, table))
        return np.einsum("nd,nd->n", self.query_vectors(rows), items)


def query_inputs(rows: pd.DataFrame, shape: TwoTowerShape) -> dict[str, np.ndarray]:
    packed = {
        export.CAT: pack(rows, c.QUERY_CATEGORICAL),
        export.CONT: pack(rows, c.QUERY_CONTINUOUS),
    }
    if shape.categories:
        packed[export.HISTORY] = history_of(rows, shape.categories).astype(np.float32)
    return packed


def item_inputs(rows: pd.DataFrame, table: np.ndarray) -> dict[str, np.ndarray]:
    return {
        export.CAT: pack(rows, c.ITEM_CATEGORICAL),
        export.CONT: pack(rows, c.ITEM_CONTINUOUS),
        export.EMBEDDINGS: table[rows[c.ITEM_ID].to_numpy()],
    }


def read_shape(champion: Path) -> TwoTowerShape:
    shape = json.loads((champion / "config.json").read_text())["shape"]
    return TwoTowerShape(**{**shape, "layers": tuple(shape["layers"])})


def write(
    step: Step,
    pair: Towers,
    schema: Schema,
    rows: pd.DataFrame,
    table: np.ndarray,
    batch_size: int,
    frozen_item_tower: Path | None = None,
) -> None:
    """Write checkpoint, config, both ONNX files and parity.npz, and report the largest differences.

    parity.npz holds query_cat, query_cont, query_embedding and item_cat, item_cont,
    item_embeddings, item_embedding.

    Args:
        rows: transformed rows to take the sample from.
        frozen_item_tower: an item tower with the same weights; it is copied rather than converted
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

    queries, items = (
        export.sample(query_inputs(rows, pair.shape)),
        export.sample(item_inputs(rows, table)),
    )
    query_vectors = export.apply(pair.query_function, queries)
    query_graph.write_query_tower(pair.query, pair.shape, step.output / QUERY_TOWER_ONNX)
    query_difference = export.onnx_difference(
        step.output / QUERY_TOWER_ONNX, queries, query_vectors
    )
    if frozen_item_tower is None:
        item_vectors, item_difference = export.export(
            pair.item_function, items, step.output / ITEM_TOWER_ONNX
        )
    else:
        shutil.copyfile(frozen_item_tower, step.output / ITEM_TOWER_ONNX)
        item_vectors = export.apply(pair.item_function, items)
        item_difference = export.onnx_difference(step.output / ITEM_TOWER_ONNX, items, item_vectors)
    export.write_arrays(
        step.output / PARITY,
        {
            **{
                f"query_{name}": values
                for name, values in {**queries, export.EMBEDDING: query_vectors}.items()
            },
            **{
                f"item_{name}": values
                for name, values in {**items, export.EMBEDDING: item_vectors}.items()
            },
        },
    )
    step.report(
        query_tower_onnx_difference=query_difference, item_tower_onnx_difference=item_difference
    )
