"""Each item's nearest others, once a release: what "similar items" shows, out of the very index
that retrieval searches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.columns import VOCABULARY_START
from recsys_assets.lib.retrieval.index import load_index

#: Others kept of each item.
NEIGHBOURS = 30
#: Items searched for at once: their scores and ids stay small beside the index, also of a million
#: items.
_CHUNK = 8_192
#: An approximate index searches no wider than this for them (lists probed, nodes in sight): 30
#: neighbours near a vector of its own need less than 300 of a visitor's, and a million items then
#: take some two minutes on two cores.
_LISTS, _NODES = 32, 128


def similar_items(index: Path, items: int, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Nearest others by inner product of item vectors, by the index's own search (approximate where
    it is).

    Args:
        index: index.faiss, its ids Categorify indices. items: I, of the item vocabulary.

    Returns:
        int32 [I, min(neighbours, vectors - 1)]: Categorify indices, best first; row i is of the
        item with index VOCABULARY_START + i. -1 where the search found fewer; a row of -1 for an
        item without a vector.
    """
    opened = load_index(index)
    _narrow(opened)
    ids, vectors = _content(opened)
    width = min(neighbours + 1, len(ids))  # the item itself comes first, or among its equals
    similar = np.full((items, width - 1), -1, np.int32)
    for start in range(0, len(ids), _CHUNK):
        own = ids[start : start + _CHUNK]
        _, found = opened.search(vectors(own), width)
        last = np.argsort(
            found == own[:, None], axis=1, kind="stable"
        )  # itself behind the others, whose order stays
        similar[own - VOCABULARY_START] = np.take_along_axis(found, last, axis=1)[:, :-1]
    return similar


def _narrow(index: Any) -> None:
    import faiss

    if not hasattr(index, "id_map"):
        index.nprobe = min(index.nprobe, _LISTS)
    elif isinstance(graph := faiss.downcast_index(index.index), faiss.IndexHNSW):
        graph.hnsw.efSearch = min(graph.hnsw.efSearch, _NODES)


def _content(index: Any) -> tuple[np.ndarray, Any]:
    """Ids int64 [I'] of an index of ``lib.index``, and what gives float32 [n, D] vectors of some of
    them.
    """
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
