"""Look up the two pretrained embeddings of each candidate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_assets.columns import EMBEDDING_DIM, VOCABULARY_START
from recsys_assets.release_files import EMBEDDING_TABLE, MODEL_FILES
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.catalogue import rows_of
from recsys_assets.serving.stages.stage import Stage, Tensors, read_matrix
from recsys_assets.settings import Settings


class MultimodalEmbeddingLookup(Stage):
    """Turns item indices into text and image embeddings, side by side.

    Args:
        table: float32 [R, 2·EMBEDDING_DIM]; row r belongs to Categorify index r.
    """

    name = "multimodal_embedding_lookup"
    inputs = (t.KEPT,)
    outputs = (t.ITEM_EMBEDDINGS,)
    files = MODEL_FILES[name]

    def __init__(self, table: np.ndarray) -> None:
        # a plain view of the mapped file: indexing np.memmap makes a new memmap, at 3x the cost
        self._of_items = table.view(np.ndarray)[VOCABULARY_START:]

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> MultimodalEmbeddingLookup:
        """Map the table of embeddings into memory."""
        return cls(read_matrix(directory / EMBEDDING_TABLE, 2 * EMBEDDING_DIM))

    def run(self, inputs: Tensors) -> Tensors:
        """Return the embeddings of the kept items."""
        return {
            t.ITEM_EMBEDDINGS.name: self._of_items.take(
                rows_of(t.KEPT.name, inputs[t.KEPT.name], len(self._of_items)), axis=0
            )
        }
