"""Score rows with DLRM and write the files of a DLRM artifact."""

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
    """Holds a DLRM and the function that is exported."""

    model: tf.keras.Model
    shape: DlrmShape
    function: tf.types.experimental.GenericFunction

    @classmethod
    def of(cls, model: tf.keras.Model, shape: DlrmShape) -> Ranker:
        """Return the ranker of a model."""
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
        """Return the named layers of a checkpoint."""
        return {"dlrm": list(self.model.blocks)}

    def scores(self, rows: pd.DataFrame, table: np.ndarray) -> np.ndarray:
        """Return [N] click probabilities of transformed rows."""
        return export.apply(self.function, inputs(rows, table))


def inputs(rows: pd.DataFrame, table: np.ndarray) -> dict[str, np.ndarray]:
    """Return the packed inputs of the exported DLRM."""
    return {
        export.CAT: pack(rows, c.RANKER_CATEGORICAL),
        export.CONT: pack(rows, c.RANKER_CONTINUOUS),
        export.EMBEDDINGS: table[rows[c.ITEM_ID].to_numpy()],
    }


def read_shape(champion: Path) -> DlrmShape:
    """Return the shape in a DLRM artifact's config.json."""
    written = json.loads((champion / "config.json").read_text())["shape"]
    shape: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in written.items()
    }
    return DlrmShape(**shape)


def write(
    step: Step[Any],
    ranker: Ranker,
    schema: Schema,
    rows: pd.DataFrame,
    table: np.ndarray,
    batch_size: int,
) -> None:
    """Write the files of a DLRM artifact and report the differences.

    The files are checkpoint, config, parity.npz (cat, cont, embeddings, score), and ONNX whole and
    in two parts. The largest difference of each ONNX from TensorFlow is reported.

    Args:
        step: the step that writes.
        ranker: trained DLRM.
        schema: the data set's.
        rows: transformed rows from which the parity sample is drawn.
        table: the aligned table.
        batch_size: of the training, for config.json.
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
