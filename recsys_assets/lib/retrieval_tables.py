"""From artifact to artifact: item vectors, index, popularity ranking, the exported models."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.artifacts import Artifact
from recsys_assets.lib import evaluation, index, item_tables
from recsys_assets.lib.feature_tables import count_clicks

#: ONNX file → the artifact role that exports it and the parity sample beside it.
EXPORTS = {"query_tower.onnx": "two_tower", "item_tower.onnx": "two_tower", "dlrm.onnx": "dlrm"}
CHECKED_QUERIES = 500


def write_item_vectors(two_tower: Artifact, aligned: Artifact, target: Path) -> dict[str, Any]:
    """item_vectors.npy [I, 64] and item_index.npy int32 [I]."""
    with np.load(aligned.path("item_tower_inputs.npz"), allow_pickle=False) as stored:
        inputs = dict(stored)
    table = np.load(aligned.path("embedding_table.npy"), allow_pickle=False)
    vectors = item_tables.item_vectors(two_tower.path("item_tower.onnx"), inputs, table)
    np.save(target / "item_vectors.npy", vectors, allow_pickle=False)
    np.save(target / "item_index.npy", inputs["index"].astype(np.int32), allow_pickle=False)
    return {"rows": len(vectors), "dim": vectors.shape[1]}


def load_vectors(item_vectors: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """(vectors float32 [I, 64], index int32 [I])."""
    return (np.load(item_vectors.path("item_vectors.npy"), allow_pickle=False),
            np.load(item_vectors.path("item_index.npy"), allow_pickle=False))


def write_index(item_vectors: Artifact, target: Path) -> dict[str, Any]:
    """index.faiss, held against brute force."""
    vectors, ids = load_vectors(item_vectors)
    built = index.build_index(vectors, ids)
    index.save_index(built, target / "index.faiss")
    # the items themselves as queries: each must find itself and its own neighbours
    queries = vectors[np.random.default_rng(0).permutation(len(vectors))[:CHECKED_QUERIES]]
    return {"rows": len(vectors), **index.check_index(built, vectors, ids, queries)}


def write_popularity(interactions: Sequence[Artifact], items: Artifact, target: Path) -> dict[str, Any]:
    """popularity.parquet: every item with its clicks, most clicked first."""
    counts = count_clicks(interactions, items)
    counts.write_parquet(target / "popularity.parquet")
    return {"rows": counts.height, "clicks": int(counts["clicks"].sum()), "items_without_click": int((counts["clicks"] == 0).sum())}


def write_exports(two_tower: Artifact, dlrm: Artifact, target: Path) -> dict[str, Any]:
    """The three ONNX files, with the largest difference of each from TensorFlow's outputs on its parity sample."""
    origin = {"two_tower": two_tower, "dlrm": dlrm}
    differences = {}
    for name, role in EXPORTS.items():
        shutil.copyfile(origin[role].path(name), target / name)
        differences[name] = evaluation.parity(target / name, origin[role].path("parity.npz"))
    return {"max_abs_difference": differences, "bytes_of": {name: (target / name).stat().st_size for name in EXPORTS}}
