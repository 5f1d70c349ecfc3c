"""From artifact to artifact: item vectors, index, popularity ranking, the exported models."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.embeddings import aligned as item_tables
from recsys_assets.lib.evaluation import ranker_metrics
from recsys_assets.lib.features.daily import count_clicks, markdown_table
from recsys_assets.lib.retrieval import index
from recsys_assets.release_files import (
    EMBEDDING_TABLE,
    INDEX,
    ITEM_TOWER_INPUTS,
    ITEM_TOWER_ONNX,
    PARITY,
    QUERY_TOWER_ONNX,
    RANKER_ONNX,
    RANKER_PARTS,
)

#: ONNX file → the artifact role that exports it and the parity sample beside it.
EXPORTS = {QUERY_TOWER_ONNX: "two_tower", ITEM_TOWER_ONNX: "two_tower", RANKER_ONNX: "dlrm"}
#: The ranker in the two parts that serve, held against the same sample together.
PARTS = tuple(RANKER_PARTS.values())


def write_item_vectors(two_tower: Artifact, aligned: Artifact, target: Path) -> dict[str, Any]:
    """item_vectors.npy [I, 64] and item_index.npy int32 [I]."""
    with np.load(aligned.path(ITEM_TOWER_INPUTS), allow_pickle=False) as stored:
        inputs = dict(stored)
    table = np.load(aligned.path(EMBEDDING_TABLE), allow_pickle=False)
    vectors = item_tables.item_vectors(two_tower.path(ITEM_TOWER_ONNX), inputs, table)
    np.save(target / "item_vectors.npy", vectors, allow_pickle=False)
    np.save(target / "item_index.npy", inputs["index"].astype(np.int32), allow_pickle=False)
    return {"rows": len(vectors), "dim": vectors.shape[1]}


def load_vectors(item_vectors: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """(vectors float32 [I, 64], index int32 [I])."""
    return (np.load(item_vectors.path("item_vectors.npy"), allow_pickle=False),
            np.load(item_vectors.path("item_index.npy"), allow_pickle=False))


def write_index(item_vectors: Artifact, two_tower: Artifact, target: Path, *, floor: float = index.RECALL_FLOOR,
                exact_limit: int = index.EXACT_LIMIT) -> dict[str, Any]:
    """index.faiss, chosen by and held against brute force on query embeddings of held-out visitors.

    two_tower: whose parity.npz holds query_embedding [Q, 64] of clicks of the validation days.
    """
    vectors, ids = load_vectors(item_vectors)
    with np.load(two_tower.path(PARITY), allow_pickle=False) as sample:
        queries = sample["query_embedding"]
    built, chosen, trials = index.choose_index(vectors, ids, queries, floor=floor, exact_limit=exact_limit)
    index.save_index(built, target / INDEX)
    table = index.trials_table(trials, chosen)
    (target / "figures").mkdir()
    (target / "figures" / "index_candidates.md").write_text(markdown_table(pl.DataFrame(table)))
    # what was written is judged, not what was meant
    checked = index.check_index(index.load_index(target / INDEX), vectors, ids, queries)
    return {"rows": len(vectors), "kind": chosen.kind, "setting": chosen.setting, "queries": len(queries),
            "neighbours": min(index.NEIGHBOURS, len(vectors)), "ms_a_query": chosen.ms_a_query,
            "recall_floor": index.EXACT_FLOOR if chosen.kind == index.FLAT else floor, "candidates": table, **checked}


def write_popularity(interactions: Sequence[Artifact], items: Artifact, target: Path) -> dict[str, Any]:
    """popularity.parquet: every item with its clicks, most clicked first."""
    counts = count_clicks(interactions, items)
    counts.write_parquet(target / "popularity.parquet")
    return {"rows": counts.height, "clicks": int(counts["clicks"].sum()), "items_without_click": int((counts["clicks"] == 0).sum())}


def write_exports(two_tower: Artifact, dlrm: Artifact, target: Path) -> dict[str, Any]:
    """The ONNX files, with the largest difference of each model from TensorFlow's outputs on its parity sample."""
    origin = {"two_tower": two_tower, "dlrm": dlrm}
    differences = {}
    for name, role in EXPORTS.items():
        shutil.copyfile(origin[role].path(name), target / name)
        differences[name] = ranker_metrics.parity(target / name, origin[role].path(PARITY))
    for name in PARTS:
        shutil.copyfile(dlrm.path(name), target / name)
    of_items, of_lists = (target / name for name in PARTS)
    differences[PARTS[-1]] = ranker_metrics.parts_parity(of_items, of_lists, dlrm.path(PARITY))
    return {"max_abs_difference": differences, "bytes_of": {name: (target / name).stat().st_size for name in (*EXPORTS, *PARTS)}}
