"""Compute each item's nearest other items, once per release, for "similar items".

They come from the index that retrieval searches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.columns import VOCABULARY_START
from recsys_assets.lib.retrieval.index import load_index

#: Similar items per item.
NEIGHBOURS = 30
#: Items per search call, which bounds the memory for scores and ids.
_CHUNK = 8_192
#: Widest search of an approximate index (nprobe, efSearch). 30 neighbours of an item need a
#: narrower search than 300 of a visitor. A million items then take about two minutes on two cores.
_LISTS, _NODES = 32, 128


def similar_items(index: Path, items: int, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Return the nearest other items by inner product, by the index's own search.

    Args:
        index: path of index.faiss, whose ids are Categorify indices.
        items: I, the number of items in the vocabulary.
        neighbours: number of similar items per item.

    Returns:
        int32 [I, min(neighbours, vectors - 1)]: Categorify indices, best first. Row i belongs to
        the item with index VOCABULARY_START + i. -1 fills a row if the search found fewer, and the
        whole row of an item without a vector.
    """
    opened = load_index(index)
    _narrow(opened)
    ids, vectors = _content(opened)
    width = min(neighbours + 1, len(ids))  # the item itself comes first, or among its equals
    similar = np.full((items, width - 1), -1, np.int32)
    for start in range(0, len(ids), _CHUNK):
        own = ids[start : start + _CHUNK]
        similar[own - VOCABULARY_START] = _nearest(opened, own, vectors(own), width)
    return similar


def similar_to(index: Path, first: int, width: int) -> np.ndarray:
    """Return the rows of ``similar_items`` of the items that were added to an index.

    Args:
        index: path of index.faiss.
        first: Categorify index of the first added item.
        width: of the rows.

    Returns:
        int32 [A, width], as ``similar_items``; the nearest may be added items too.
    """
    opened = load_index(index)
    _narrow(opened)
    ids, vectors = _content(opened)
    added = np.sort(ids[ids >= first])
    similar = np.full((len(added), width), -1, np.int32)
    for start in range(0, len(added), _CHUNK):
        own = added[start : start + _CHUNK]
        found = _nearest(opened, own, vectors(own), min(width + 1, len(ids)))
        similar[start : start + len(own), : found.shape[1]] = found
    return similar


def _nearest(opened: Any, own: np.ndarray, vectors: np.ndarray, width: int) -> np.ndarray:
    """Return the ids of the ``width`` - 1 nearest others of items [n], best first."""
    _, found = opened.search(vectors, width)
    # Move the item itself to the end; the order of the others stays.
    last = np.argsort(found == own[:, None], axis=1, kind="stable")
    return np.asarray(np.take_along_axis(found, last, axis=1)[:, :-1])


def _narrow(index: Any) -> None:
    import faiss

    if not hasattr(index, "id_map"):
        index.nprobe = min(index.nprobe, _LISTS)
    elif isinstance(graph := faiss.downcast_index(index.index), faiss.IndexHNSW):
        graph.hnsw.efSearch = min(graph.hnsw.efSearch, _NODES)


def _content(index: Any) -> tuple[np.ndarray, Any]:
    """Return an index's ids int64 [I'] and its function ids [n] → float32 [n, D]."""
    import faiss

    if hasattr(index, "id_map"):
        return faiss.vector_to_array(index.id_map), index.reconstruct_batch
    lists = index.invlists
    index.set_direct_map_type(faiss.DirectMap.Hashtable)  # type: ignore[attr-defined]  # missing in faiss' stub
    held = [
        faiss.rev_swig_ptr(lists.get_ids(n), lists.list_size(n)).copy()
        for n in range(index.nlist)
        if lists.list_size(n)
    ]
    return np.concatenate(held), index.reconstruct_batch
