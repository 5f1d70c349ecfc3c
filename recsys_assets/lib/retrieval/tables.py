"""Build the artifacts of item vectors and of the index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.retrieval import index
from recsys_assets.lib.retrieval.item_vectors import item_vectors as vectors_of_items
from recsys_assets.release_files import (
    EMBEDDING_TABLE,
    INDEX,
    ITEM_TOWER_INPUTS,
    ITEM_TOWER_ONNX,
    PARITY,
)


def write_item_vectors(two_tower: Artifact, aligned: Artifact, target: Path) -> dict[str, Any]:
    """Write item_vectors.npy [I, 64] and item_index.npy int32 [I]; return the metrics."""
    with np.load(aligned.path(ITEM_TOWER_INPUTS), allow_pickle=False) as stored:
        inputs = dict(stored)
    table = np.load(aligned.path(EMBEDDING_TABLE), allow_pickle=False)
    vectors = vectors_of_items(two_tower.path(ITEM_TOWER_ONNX), inputs, table)
    np.save(target / "item_vectors.npy", vectors, allow_pickle=False)
    np.save(target / "item_index.npy", inputs["index"].astype(np.int32), allow_pickle=False)
    return {"rows": len(vectors), "dim": vectors.shape[1]}


def load_vectors(item_vectors: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors float32 [I, 64] and the item indices int32 [I]."""
    return (
        np.load(item_vectors.path("item_vectors.npy"), allow_pickle=False),
        np.load(item_vectors.path("item_index.npy"), allow_pickle=False),
    )


def write_index(
    item_vectors: Artifact,
    two_tower: Artifact,
    target: Path,
    *,
    floor: float = index.RECALL_FLOOR,
    exact_limit: int = index.EXACT_LIMIT,
) -> dict[str, Any]:
    """Write index.faiss, compare it with brute force and return the metrics.

    The queries are query embeddings [Q, 64] of clicks of the validation days.

    Args:
        item_vectors: retrieval/item_vectors.
        two_tower: retrieval/two_tower, whose parity.npz holds the queries.
        target: the artifact's folder.
        floor: least recall of an approximate index.
        exact_limit: number of items from which on the index is approximate.
    """
    vectors, ids = load_vectors(item_vectors)
    with np.load(two_tower.path(PARITY), allow_pickle=False) as sample:
        queries = sample["query_embedding"]
    built, chosen, trials = index.choose_index(
        vectors, ids, queries, floor=floor, exact_limit=exact_limit
    )
    index.save_index(built, target / INDEX)
    table = index.trials_table(trials, chosen)
    (target / "figures").mkdir()
    (target / "figures" / "index_candidates.md").write_text(markdown_table(pl.DataFrame(table)))
    # check the written file, not the index in memory
    checked = index.check_index(index.load_index(target / INDEX), vectors, ids, queries)
    return {
        "rows": len(vectors),
        "kind": chosen.kind,
        "setting": chosen.setting,
        "queries": len(queries),
        "neighbours": min(index.NEIGHBOURS, len(vectors)),
        "ms_a_query": chosen.ms_a_query,
        "recall_floor": index.EXACT_FLOOR if chosen.kind == index.FLAT else floor,
        "candidates": table,
        **checked,
    }
