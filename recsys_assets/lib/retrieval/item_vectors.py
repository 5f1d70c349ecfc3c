"""Compute item vectors by the exported item tower."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recsys_assets.columns import EMBEDDING_DIM


def item_vectors(
    onnx_path: Path, inputs: Mapping[str, np.ndarray], table: np.ndarray, batch: int = 4096
) -> np.ndarray:
    """Run the item tower over the catalogue.

    Args:
        onnx_path: item_tower.onnx (cat int32 [B, 4], cont float32 [B, 1], embeddings float32 [B,
            128]).
        inputs: from ``item_tower_inputs``.
        table: from ``align_embeddings``.
        batch: items per call.

    Returns:
        float32 [I, 64], L2-normalised, one row per row of the inputs.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(onnx_path), providers=onnxruntime.get_available_providers()
    )
    index, cat, cont = inputs["index"], inputs["cat"], inputs["cont"]
    vectors = np.zeros((len(index), EMBEDDING_DIM), np.float32)
    for start in range(0, len(index), batch):
        rows = slice(start, start + batch)
        feed = {"cat": cat[rows], "cont": cont[rows], "embeddings": table[index[rows]]}
        vectors[rows] = session.run(None, feed)[0]
    return vectors
