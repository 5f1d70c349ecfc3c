"""Fits the simple rungs: popularity, and item-to-item by visitors' common clicks.

Both are inner products of 64 numbers, so that the stages of the full models serve them. The first
number of an item is its popularity. The others factorise the cosine of the items' columns of
clicks (Sarwar et al. 2001; the truncated factorisation is PureSVD, Cremonesi et al. 2010): with
X the matrix of visitors and items, scaled by columns, X ≈ U Σ Vᵀ and cosine(i, j) ≈ (V Σ²Vᵀ)[i, j].
A visitor is the sum of the vectors of the latest clicked items, each weighted by its age, plus a
constant for popularity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.columns import EMBEDDING_DIM, SECONDS_PER_DAY, VOCABULARY_START
from recsys_assets.release_files import RUNG_QUERY

_FACTORS = EMBEDDING_DIM - 1
#: Days after which a click weighs half in popularity.
_POPULARITY_HALF_LIFE = 7.0
#: Clicks added to those of each item, so that items with few clicks do not look alike by chance.
SHRINKAGE = 5.0


@dataclass(frozen=True)
class Weights:
    """Holds the weights of a query."""

    popularity: float = 0.1  # of an item's popularity (1: the most popular one)
    half_life: float = 48.0  # hours after which a click weighs half


#: Tried on the last training days.
CANDIDATES = tuple(
    Weights(popularity, half_life)
    for popularity in (0.03, 0.1, 0.3, 1.0)
    for half_life in (6.0, 48.0, 336.0)
)


@dataclass(frozen=True)
class ItemToItem:
    """Holds the vectors of I items in catalogue order and the weights of a query."""

    item_ids: np.ndarray  # str [I]
    vectors: np.ndarray  # float32 [I, 64]: popularity, then the factors
    weights: Weights

    @classmethod
    def fit(cls, clicks: pl.DataFrame, item_ids: np.ndarray, weights: Weights) -> ItemToItem:
        """Fit popularity and factors.

        Args:
            clicks: {user_id, item_id, timestamp} of all events but impressions.
            item_ids: str [I], the catalogue; clicks on other items are left out.
            weights: of the queries.
        """
        rows = pl.DataFrame({c.ITEM_ID: item_ids.tolist(), "row": np.arange(len(item_ids))})
        rows = rows.cast({c.ITEM_ID: pl.String, "row": pl.Int64})
        clicks = clicks.join(rows, on=c.ITEM_ID)
        vectors = np.zeros((len(item_ids), EMBEDDING_DIM), np.float32)
        vectors[:, 0] = _popularity(clicks, len(item_ids))
        vectors[:, 1:] = _factors(clicks, len(item_ids))
        return cls(item_ids, vectors, weights)

    def with_weights(self, weights: Weights) -> ItemToItem:
        """Return the same items with other weights of a query."""
        return ItemToItem(self.item_ids, self.vectors, weights)

    def popularity_only(self) -> ItemToItem:
        """Return the rung below: the same popularity, without factors."""
        vectors = self.vectors.copy()
        vectors[:, 1:] = 0.0
        return ItemToItem(self.item_ids, vectors, Weights(1.0, self.weights.half_life))

    @property
    def constant(self) -> np.ndarray:
        """Return the part of a query that all visitors share, float32 [64]."""
        found = np.zeros(EMBEDDING_DIM, np.float32)
        found[0] = self.weights.popularity
        return found

    @cached_property
    def of_clicks(self) -> np.ndarray:
        """Return what a click on each item adds to a query, float32 [I, 64]."""
        return of_clicks(self.vectors)

    def rows_of(self, item_ids: Iterable[str]) -> np.ndarray:
        """Return the row of each item, int64 [n]; -1: the model lacks it."""
        return np.array([self._row.get(item, -1) for item in item_ids], np.int64)

    @cached_property
    def _row(self) -> dict[str, int]:
        return {item: row for row, item in enumerate(self.item_ids.tolist())}

    def queries(self, items: sp.csr_matrix, ages: np.ndarray) -> np.ndarray:
        """Return query embeddings of Q visitors, float32 [Q, 64].

        Args:
            items: [Q, I], one entry per click; its data are ignored.
            ages: float [entries], hours since each click, in the order of the entries.
        """
        weight = np.exp2(-ages / self.weights.half_life).astype(np.float32)
        weighted = sp.csr_matrix((weight, items.indices, items.indptr), shape=items.shape)
        found: np.ndarray = np.asarray(weighted @ self.of_clicks, np.float32) + self.constant
        return found

    # --- storage
    def write(self, target: Path, vocabulary: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Write the arrays of serving, by Categorify index.

        The files are item_vectors.npy and item_index.npy (as of ``retrieval/item_vectors``) and
        RUNG_QUERY (table float32 [3 + I', 64], constant float32 [64], half_life, hours).

        Args:
            target: folder of the files.
            vocabulary: item ids of the generation; item i has index 3 + i.

        Returns:
            vectors float32 [I', 64] and index int32 [I'] of the vocabulary's items.
        """
        own = self.rows_of(vocabulary)
        vectors = np.where(own[:, None] >= 0, self.vectors[own], 0.0).astype(np.float32)
        index = np.arange(len(vocabulary), dtype=np.int32) + VOCABULARY_START
        table = np.zeros((VOCABULARY_START + len(vocabulary), EMBEDDING_DIM), np.float32)
        table[VOCABULARY_START:, 1:] = vectors[:, 1:]
        np.save(target / "item_vectors.npy", vectors, allow_pickle=False)
        np.save(target / "item_index.npy", index, allow_pickle=False)
        np.savez(
            target / RUNG_QUERY,
            allow_pickle=False,
            table=table,
            constant=self.constant,
            half_life=np.float64(self.weights.half_life),
        )
        return vectors, index

    @classmethod
    def read(cls, artifact: Artifact, vocabulary: list[str]) -> ItemToItem:
        """Read what ``write`` wrote."""
        vectors = np.load(artifact.path("item_vectors.npy"), allow_pickle=False)
        with np.load(artifact.path(RUNG_QUERY), allow_pickle=False) as stored:
            weights = Weights(float(stored["constant"][0]), float(stored["half_life"]))
        return cls(np.array(vocabulary, dtype=str), vectors, weights)


def of_clicks(vectors: np.ndarray) -> np.ndarray:
    """Return what clicks on items with these vectors add to a query, float32 [n, 64]."""
    found = vectors.copy()
    found[:, 0] = 0.0
    return found


def _popularity(clicks: pl.DataFrame, items: int) -> np.ndarray:
    """Return each item's clicks, newer ones weighing more; 1: the most clicked, float64 [I].

    clicks: {row, timestamp}.
    """
    if clicks.is_empty():
        return np.zeros(items)
    at = clicks[c.TIMESTAMP].to_numpy()
    age = (at.max() - at) / SECONDS_PER_DAY
    counts = np.bincount(
        clicks["row"].to_numpy(), np.exp2(-age / _POPULARITY_HALF_LIFE), minlength=items
    )
    return np.asarray(counts / counts.max())


def _factors(clicks: pl.DataFrame, items: int) -> np.ndarray:
    """Return the factors of the items' cosines, float64 [I, 63]; zeros beyond their rank.

    clicks: {user_id, row}.
    """
    found = np.zeros((items, _FACTORS))
    pairs = clicks.filter(pl.col(c.USER_ID) != c.MISSING).select(c.USER_ID, "row").unique()
    if pairs.is_empty():
        return found
    user = (pairs[c.USER_ID].rank("dense").to_numpy() - 1).astype(np.int64)
    row = pairs["row"].to_numpy()
    count = np.bincount(row, minlength=items)
    clicked = np.flatnonzero(count)
    # a canonical order, so that equal logs give equal factors
    matrix = sp.csr_matrix(
        (1.0 / np.sqrt(count[row] + SHRINKAGE), (user, np.searchsorted(clicked, row))),
        shape=(int(user.max()) + 1, len(clicked)),
    )
    matrix.sort_indices()
    values, vectors = _largest(matrix, min(_FACTORS, len(clicked)))
    # the sign of a factor is arbitrary: its largest entry is made positive
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.where(vectors[largest, np.arange(len(largest))] < 0, -1.0, 1.0)
    found[clicked, : len(values)] = vectors * np.sqrt(np.maximum(values, 0.0))
    return found


def _largest(matrix: sp.csr_matrix, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues of MᵀM and their vectors, [count] and [I, count]."""
    items = matrix.shape[1]
    if items <= 4 * _FACTORS:
        values, vectors = np.linalg.eigh((matrix.T @ matrix).toarray())
        return values[::-1][:count], vectors[:, ::-1][:, :count]
    gram = sp.linalg.LinearOperator(
        (items, items), matvec=lambda x: matrix.T @ (matrix @ x), dtype=np.float64
    )
    start = np.ones(items) / np.sqrt(items)
    values, vectors = sp.linalg.eigsh(gram, k=count, v0=start, tol=1e-6)
    return values[::-1], vectors[:, ::-1]
