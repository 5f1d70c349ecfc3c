"""Computes inner products so that equal vectors have equal products, as in the index."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_ITEMS = 1 << 16  # at a time
#: Largest error of an inner product that rounding may make, as a share of the query's largest one.
#: Sums of 64 numbers in float32 differ by some 5e-7 of it, and so does the query's own vector.
ROUNDING = 1e-6
#: float32 [n, D] of queries and [I, D] of items → float32 [n, I].
Products = Callable[[np.ndarray, np.ndarray], np.ndarray]


def inner_products(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the inner products of queries and items, float32 [n, I].

    They are added in float64. In float32 the last digit depends on an item's place in the matrix,
    so that items with equal vectors, such as new items with the same content, come in random order
    and not in that of the index.

    Args:
        queries: float32 [n, D].
        vectors: float32 [I, D].
    """
    found, wide = np.empty((len(queries), len(vectors)), np.float32), queries.astype(np.float64)
    for start in range(0, len(vectors), _ITEMS):  # a catalogue in float64 is 512 MB per million
        part = slice(start, start + _ITEMS)
        found[:, part] = wide @ vectors[part].astype(np.float64).T
    return found


def faiss_products(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the same products, rounded as FAISS rounds them for one query at a time."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, np.float32))
    found = np.empty((len(queries), len(vectors)), np.float32)
    for row, query in zip(found, queries, strict=True):
        (near,), (items,) = index.search(np.ascontiguousarray(query[None]), len(vectors))
        row[items] = near
    return found


class NudgedProducts:
    """Gives inner products with other errors of the size of rounding at each call.

    Whatever computes them rounds in a way of its own. Two items that are nearly as good may so
    change places in the list of one source, which moves an item's weighted rank by far more than
    rounding.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._known: tuple[np.ndarray, np.ndarray] | None = None  # vectors, number of each one

    def __call__(self, queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Return the products of ``inner_products``, nudged, float32 [n, I].

        Equal vectors keep equal products.
        """
        if self._known is None or self._known[0] is not vectors:
            _, number = np.unique(_as_bytes(vectors), return_inverse=True)
            self._known = (vectors, number.ravel())
        number = self._known[1]
        found = inner_products(queries, vectors)
        largest = np.abs(found).max(axis=1, keepdims=True, initial=0.0)
        shape = (len(queries), int(number.max(initial=-1)) + 1)
        errors = self._rng.uniform(-ROUNDING, ROUNDING, shape)[:, number]
        return np.asarray(found + largest * errors, np.float32)


def _as_bytes(vectors: np.ndarray) -> np.ndarray:
    """Return each vector as one value, [I]."""
    rows = np.ascontiguousarray(vectors, np.float32)
    return np.asarray(rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel())
