"""Defines the baselines from a profile, over the whole catalogue (``list_metrics.Scorer``).

All are fitted on the training days. BLAS and OpenMP threads are kept apart, because two pools on
the same cores slow each other down.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.popular_baselines import Popular
from recsys_assets.lib.evaluation.sparse_rows import highest_per_row
from recsys_assets.lib.evaluation.visitor_baselines import ByProfile, above_popularity

#: EASE inverts a matrix of at most this many items, the most clicked; 10,000 take 800 MB.
DENSE_ITEMS = 10_000
_ITEMS_PER_BLOCK = 1_024
_CLICKS_FOR_THREADS = 200_000
WEIGHTINGS = ("cosine", "tfidf", "bm25")


def _implicit(module: str) -> Any:
    """Import a module of implicit.

    Raises:
        ImportError: implicit cannot be loaded; the message names the system library that its wheel
            lacks.
    """
    try:
        return importlib.import_module(f"implicit.{module}")
    except ImportError as error:
        raise ImportError(
            f"implicit cannot be loaded ({error}); it needs OpenMP's libgomp.so.1 of the system: "
            "on Debian install libgomp1"
        ) from error


def _clicked(clicks: sp.csr_matrix) -> np.ndarray:
    return np.asarray(clicks.sum(axis=0)).ravel() > 0


@dataclass(frozen=True)
class ItemKNN(ByProfile):
    """Sums an item's similarities to the profile's items (Sarwar et al. 2001).

    Items without a similar one in the profile follow by popularity.
    """

    similarity: sp.csr_matrix  # [I, I], row j: the neighbours of item j
    name: ClassVar[str] = "item_knn"

    @classmethod
    def fit(
        cls,
        clicks: sp.csr_matrix,
        log: ClickLog,
        fallback: Popular,
        *,
        neighbours: int,
        weighting: str,
        shrinkage: float,
        half_life: float,
    ) -> ItemKNN:
        """Fit the similarities to clicks, ones [U, I]; see ``similarities``."""
        return cls(
            log,
            fallback,
            half_life,
            _clicked(clicks),
            similarities(clicks, neighbours, weighting, shrinkage),
        )

    def of_clicks(self, clicks: sp.csr_matrix, popular: np.ndarray) -> np.ndarray:
        """Return summed similarities, then popularity below them, float64 [n, I]."""
        return above_popularity((clicks @ self.similarity.T).tocsr(), popular)


def similarities(
    clicks: sp.csr_matrix, neighbours: int, weighting: str, shrinkage: float
) -> sp.csr_matrix:
    """Return the similarity of every item to its nearest neighbours, itself excluded.

    Args:
        clicks: ones, float32 [U, I].
        neighbours: per item.
        weighting: ``cosine`` of the items' columns; ``tfidf``: the same, with lower weights for
            clicks of visitors with many; ``bm25``: inner product after BM25, which does not divide
            popularity out (weights as in the library implicit).
        shrinkage: added to the cosine's denominator, in units of the mean squared length, so that
            one value fits few visitors and many; bm25 has none.

    Returns:
        [I, I], at most ``neighbours`` positive entries in row j.

    Raises:
        ValueError: the weighting is unknown.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting {weighting!r} is unknown; use one of {', '.join(WEIGHTINGS)}")
    weight = _implicit("nearest_neighbours")
    of_items = clicks.T.tocsr()  # an item is a document, a visitor a term
    if weighting != "cosine":
        of_items = sp.csr_matrix(
            weight.tfidf_weight(of_items)
            if weighting == "tfidf"
            else weight.bm25_weight(of_items, K1=1.2, B=0.75)
        )
    squared = np.asarray(of_items.multiply(of_items).sum(axis=1)).ravel()
    length = np.sqrt(squared)
    added = shrinkage * (squared[squared > 0].mean() if squared.any() else 1.0)
    by_user, found = of_items.T.tocsr(), []
    # only items with a common visitor have an entry, so a block has no more than they have
    for start in range(0, of_items.shape[0], _ITEMS_PER_BLOCK):
        block = np.arange(start, min(start + _ITEMS_PER_BLOCK, of_items.shape[0]))
        products = (of_items[block] @ by_user).tocsr()
        row = block[np.repeat(np.arange(len(block)), np.diff(products.indptr))]
        if weighting != "bm25":
            scale = length[row] * length[products.indices] + added
            products.data = products.data / np.maximum(scale, 1e-12)
        products.data[row == products.indices] = 0.0
        products.data = np.maximum(products.data, 0.0).astype(np.float32)
        products.eliminate_zeros()
        found.append(highest_per_row(products, neighbours))
    return sp.vstack(found, format="csr")


@dataclass(frozen=True)
class Ease(ByProfile):
    """Scores by linear item-to-item weights with zero diagonal, in closed form.

    Source: Steck 2019, "Embarrassingly Shallow Autoencoders".
    """

    chosen: np.ndarray  # int64 [M], items that have weights
    weights: np.ndarray  # float32 [M, M]
    name: ClassVar[str] = "ease"

    @classmethod
    def fit(
        cls,
        clicks: sp.csr_matrix,
        log: ClickLog,
        fallback: Popular,
        *,
        regularisation: float,
        half_life: float,
        most_items: int = DENSE_ITEMS,
    ) -> Ease:
        """Fit the weights to clicks, ones [U, I].

        regularisation: Steck's λ in units of the mean clicks of a clicked item, so that one value
        fits few visitors and many.
        """
        counts = np.asarray(clicks.sum(axis=0)).ravel()
        chosen = np.sort(
            np.argsort(-counts, kind="stable")[: min(most_items, int((counts > 0).sum()))]
        )
        fitted = np.zeros(len(counts), bool)
        fitted[chosen] = True
        gram = np.asarray((clicks[:, chosen].T @ clicks[:, chosen]).todense(), np.float64)
        return cls(
            log,
            fallback,
            half_life,
            fitted,
            chosen,
            ease_weights(gram, regularisation * counts[chosen].mean()),
        )

    def of_clicks(self, clicks: sp.csr_matrix, popular: np.ndarray) -> np.ndarray:
        """Return weighted profiles, float32 [n, I]; 0 for items without weights."""
        scores = np.zeros(popular.shape, np.float32)
        scores[:, self.chosen] = clicks[:, self.chosen] @ self.weights
        return scores


def ease_weights(gram: np.ndarray, regularisation: float) -> np.ndarray:
    """Return the weights B that minimise ‖X - XB‖² + λ‖B‖² with diag(B) = 0.

    B = I - P / diag(P) with P = (XᵀX + λI)⁻¹ (Steck 2019, eq. 8).

    Args:
        gram: XᵀX, float64 [M, M].
        regularisation: λ > 0.

    Returns:
        float32 [M, M].

    Raises:
        ValueError: the regularisation is not above 0.
    """
    if not regularisation > 0:
        raise ValueError(
            f"regularisation is {regularisation}; EASE needs one above 0, or XᵀX may have no "
            "inverse"
        )
    inverse = np.linalg.inv(gram + regularisation * np.eye(len(gram)))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights.astype(np.float32)


@dataclass(frozen=True)
class ImplicitALS(ByProfile):
    """Factorises clicks with confidence 1 + α·weight (Hu, Koren and Volinsky 2008).

    Visitors are folded in when they are scored.
    """

    model: Any  # implicit.cpu.als.AlternatingLeastSquares
    alpha: float
    name: ClassVar[str] = "ials"

    @classmethod
    def fit(
        cls,
        clicks: sp.csr_matrix,
        log: ClickLog,
        fallback: Popular,
        *,
        factors: int,
        regularisation: float,
        alpha: float,
        iterations: int,
        half_life: float,
        seed: int = 0,
    ) -> ImplicitALS:
        """Fit the factors to clicks, ones [U, I].

        alpha: of the confidence. regularisation: λ / alpha. The loss grows with alpha, so one
        range suits every alpha.
        """
        confidence = clicks.copy()
        confidence.data = 1.0 + alpha * confidence.data
        # with few clicks, a pool of threads costs more time than it saves; 0: one per core
        threads = 0 if clicks.nnz > _CLICKS_FOR_THREADS else 1
        with threadpool_limits(1, "blas"):
            model = _implicit("cpu.als").AlternatingLeastSquares(
                factors=factors,
                regularization=regularisation * alpha,
                iterations=iterations,
                random_state=seed,
                num_threads=threads,
            )
            model.fit(confidence, show_progress=False)
        model.num_threads = 1  # only some hundred visitors are folded in at a time
        return cls(log, fallback, half_life, _clicked(clicks), model, alpha)

    def of_clicks(self, clicks: sp.csr_matrix, popular: np.ndarray) -> np.ndarray:
        """Return products of folded-in visitors and item factors, float32 [n, I]."""
        confidence = clicks.copy()
        confidence.data = 1.0 + self.alpha * confidence.data
        with threadpool_limits(1, "blas"):
            visitors = self.model.recalculate_user(np.arange(clicks.shape[0]), confidence)
            scores: np.ndarray = visitors @ self.model.item_factors.T
        return scores
