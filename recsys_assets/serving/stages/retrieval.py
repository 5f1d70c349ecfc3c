"""Retrieve candidates from the FAISS index.

They are the items whose vectors have the highest inner product with the query embedding.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsys_assets.columns import EMBEDDING_DIM
from recsys_assets.files import FileCorrupt
from recsys_assets.lib.sources.blend import OVER_FETCH
from recsys_assets.release_files import INDEX, MODEL_FILES
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.stage import Stage, Tensors, shared
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    import faiss


class Searcher:
    """Finds the items nearest to one query.

    Args:
        index: of the item vectors.
    """

    def __init__(self, index: faiss.Index) -> None:
        import faiss

        self._index, self._set_threads = index, faiss.omp_set_num_threads

    @classmethod
    def open(cls, path: Path) -> Searcher:
        """Return the index of a file, opened once per process.

        Raises:
            FileCorrupt: it is not an index that can be searched.
        """
        return shared(path, _read)

    def __len__(self) -> int:
        return self._index.ntotal

    def search(self, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with the highest inner products, best first.

        Of equal items the lower index comes first, also where only some of them are wanted. One
        query at a time: for several queries, FAISS multiplies in another order and rounds
        otherwise.

        Args:
            query: float32 [64].
            count: items wanted, at least 1.

        Returns:
            Categorify indices int32 [N] and their inner products float32 [N], N ≤ count; never the
            -1 with which FAISS pads a short result. Nothing for a query that is not finite.
        """
        if not np.isfinite(query).all():
            return np.empty(0, np.int32), np.empty(0, np.float32)
        # one query uses one thread but would wait for all of them, on a loaded machine for tens of
        # milliseconds; the setting holds for the calling thread alone
        self._set_threads(1)
        # one more than wanted shows whether the last one has equals that are left out
        (similarity,), (found,) = self._index.search(query[None], min(count + 1, len(self)))
        items = found >= 0
        if not items.all():
            found, similarity = found[items], similarity[items]
        if len(found) > count:
            if similarity[count] == similarity[count - 1]:
                found, similarity = self._with_equals(query, found, similarity)
            else:
                found, similarity = found[:count], similarity[:count]
        # FAISS orders equal items differently for different counts
        if (similarity[1:] == similarity[:-1]).any():
            order = np.lexsort((found, -similarity))[:count]
            found, similarity = found[order], similarity[order]
        return found.astype(np.int32), similarity

    def _with_equals(
        self, query: np.ndarray, found: np.ndarray, similarity: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items above the last one, and all that are equal to it.

        FAISS takes any of the equal ones. In a shop whose items have neither texts nor pictures
        nor clicks, half of the catalogue may be equal.
        """
        last = similarity[-1]
        _, values, items = self._index.range_search(
            query[None], float(np.nextafter(last, np.float32(-np.inf)))
        )
        above, equal = similarity > last, items[values == last]
        return (
            np.concatenate([found[above], equal]),
            np.concatenate([similarity[above], np.full(len(equal), last, np.float32)]),
        )


def _read(path: Path) -> Searcher:
    """Read an index and check it."""
    import faiss

    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise FileCorrupt(
            f"{path} is not a FAISS index ({error}); build the index again"
        ) from error
    if index.d != EMBEDDING_DIM or index.ntotal == 0:
        raise FileCorrupt(
            f"{path} must hold vectors of {EMBEDDING_DIM}, got {index.ntotal} of {index.d}; build "
            "the index again"
        )
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise FileCorrupt(f"{path} must search by inner product; build the index again")
    return Searcher(index)


class FaissRetrieval(Stage):
    """Turns query embeddings into item indices and inner products, best first.

    Args:
        searcher: of the index.
        topk: candidates per visitor, including those that replace seen items.
    """

    name = "faiss_retrieval"
    inputs = (t.QUERY_EMBEDDING,)
    outputs = (t.CANDIDATES, t.CANDIDATE_SIMILARITY, t.CANDIDATE_COUNTS)
    files = MODEL_FILES[name]

    def __init__(self, searcher: Searcher, topk: int) -> None:
        self._searcher, self._topk = searcher, topk

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> FaissRetrieval:
        """Open the index."""
        return cls(Searcher.open(directory / INDEX), settings.retrieval_topk + OVER_FETCH)

    def run(self, inputs: Tensors) -> Tensors:
        """Return each visitor's candidates."""
        found = [
            self._searcher.search(query, self._topk) for query in inputs[t.QUERY_EMBEDDING.name]
        ]
        counts = np.array([len(items) for items, _ in found], np.int32)
        items, similarity = (
            found[0] if len(found) == 1 else map(np.concatenate, zip(*found, strict=True))
        )
        return {
            t.CANDIDATES.name: items,
            t.CANDIDATE_SIMILARITY.name: similarity,
            t.CANDIDATE_COUNTS.name: counts,
        }
