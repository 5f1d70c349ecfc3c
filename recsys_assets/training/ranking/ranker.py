"""DLRM by its packed inputs: scores of rows, and the files of a DLRM artifact."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from merlin.schema import Schema

from recsys_assets import columns as c
from recsys_assets.release_files import PARITY, RANKER_ITEMS_ONNX, RANKER_LISTS_ONNX, RANKER_ONNX
from recsys_assets.training import export
from recsys_assets.training.loaders import cardinalities, pack
from recsys_assets.training.models import DlrmShape, save_checkpoint
from recsys_assets.training.ranking import factored
from recsys_assets.training.step import Step


@dataclass(frozen=True)
class Ranker:
    """A DLRM and the function with the signature that is exported."""

    model: tf.keras.Model
    shape: DlrmShape
    function: tf.types.experimental.GenericFunction

    @classmethod
    def of(cls, model: tf.keras.Model, shape: DlrmShape) -> Ranker:
        return cls(model, shape, export.ranker_function(model, shape))

    def build(self) -> None:
        """Create the variables, so that a checkpoint can be read into them."""
        self.function.python_function(
            tf.zeros([1, len(c.RANKER_CATEGORICAL)], tf.int32),
            tf.zeros([1, len(c.RANKER_CONTINUOUS)]),
            tf.zeros([1, 2 * c.EMBEDDING_DIM]),
        )

    @property
    def parts(self) -> dict[str, list[tf.keras.layers.Layer]]:
        return {"dlrm": list(self.model.blocks)}

    def scores(self, rows: pd.DataFrame, table: np.ndarray) -> np.ndarray:
        """[N] click probabilities of transformed rows."""
        return export.apply(self.function, inputs(rows, table))


def inputs(rows: pd.DataFrame, table: np.ndarray) -> dict[str, np.ndarray]:
    return {
        export.CAT: pack(rows, c.RANKER_CATEGORICAL),
        export.CONT: pack(rows, c.RANKER_CONTINUOUS),
        export.EMBEDDINGS: table[rows[c.ITEM_ID].to_numpy()],
    }


def read_shape(champion: Path) -> DlrmShape:
    written = json.loads((champion / "config.json").read_text())["shape"]
    shape: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in written.items()
    }
    return DlrmShape(**shape)


def write(
    step: Step,
    ranker: Ranker,
    schema: Schema,
    rows: pd.DataFrame,
    table: np.ndarray,
    batch_size: int,
) -> None:
    """Write checkpoint, config, parity.npz (cat, cont, embeddings, score) and ONNX, whole and in
    two parts, and report the largest difference of each from TensorFlow.

    Args:
        rows: transformed rows to take the sample from.
    """
    save_checkpoint(step.output, ranker.parts)
    config = {
        "model": "dlrm",
        "shape": dataclasses.asdict(ranker.shape),
        "batch_size": batch_size,
        "cardinality": cardinalities(schema),
        "opset": export.OPSET,
    }
    (step.output / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    sample = export.sample(inputs(rows, table))
    scores, difference = export.export(ranker.function, sample, step.output / RANKER_ONNX)
    export.write_arrays(step.output / PARITY, {**sample, export.SCORE: scores})
    parts = factored.FactoredRanker(ranker.model, ranker.shape)
    parts.write_items(step.output / RANKER_ITEMS_ONNX)
    parts.write_lists(step.output / RANKER_LISTS_ONNX)
    step.report(
        dlrm_onnx_difference=difference,
        dlrm_parts_difference=factored.onnx_difference(step.output, sample, scores),
    )
