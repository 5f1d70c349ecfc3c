"""Defines the baselines: simple scorers over the whole catalogue (``list_metrics.Scorer``).

All are fitted on the training days. When they answer, they use what a nightly batch system has: a
visitor's clicks up to the end of the day before the query, newer clicks weighing more
(``half_life``, days). Visitors without clicks get recent popularity. BLAS and OpenMP threads are
kept apart, because two pools on the same cores slow each other down.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from recsys_assets.columns import USER_ID
from recsys_assets.lib.evaluation.click_log import ClickLog, days_of

if TYPE_CHECKING:
    from recsys_assets.lib.evaluation.queries import Queries

#: EASE inverts a matrix of at most this many items, the most clicked; 10,000 take 800 MB.
DENSE_ITEMS = 10_000
_ITEMS_PER_BLOCK = 1_024
_CLICKS_FOR_THREADS = 200_000
WEIGHTINGS = ("cosine", "tfidf", "bm25")


# --- without a profile (popularity over all training days is list_metrics.SameForAll) -------------
@dataclass(frozen=True)
class RandomOrder:
    """Orders the catalogue at random, by seed and query."""

    items: int
    seed: int
    name: ClassVar[str] = "random"

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return uniform draws, float32 [n, I]."""
        return np.stack(
            [np.random.default_rng([self.seed, row]).random(self.items, np.float32) for row in rows]
        )


@dataclass(frozen=True)
class RecentPopularity:
    """Scores items by weighted clicks of the ``window`` days before the query's day."""

    log: ClickLog
    window: int
    half_life: float
    name: ClassVar[str] = "recent_popularity"

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the weighted clicks of each query's day, float32 [n, I]."""
        days, of = np.unique(days_of(queries.frame, self.log.zone)[rows], return_inverse=True)
        counts = np.stack([self.log.recent(int(day), self.half_life, self.window) for day in days])
        return counts.astype(np.float32)[of]


# --- from a profile -------------------------------------------------------------------------------
@dataclass(frozen=True)
class _ByProfile(ABC):
    """Scores items from a visitor's profile; ``fallback`` answers where it is empty."""

    log: ClickLog
    fallback: RecentPopularity
    half_life: float
    #: bool [I], items that had a click when the model was fitted; a profile has no others
    fitted: np.ndarray

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the scores of the queries ``rows``, float32 [n, I]."""
        code, days = (
            self.log.codes(queries.frame[USER_ID][rows]),
            days_of(queries.frame, self.log.zone)[rows],
        )
        # all queries of a visitor on one day have the same answer
        _, first, of = np.unique(
            np.stack([code, days]), axis=1, return_index=True, return_inverse=True
        )
        profiles = self.log.profiles(code[first], days[first], self.half_life)
        profiles.data *= self.fitted[profiles.indices]
        profiles.eliminate_zeros()
        scores = self.fallback.scores(queries, rows[first])
        known = np.diff(profiles.indptr) > 0
        if known.any():
            scores[known] = self.of_profiles(profiles[known], scores[known])
        return scores[of]

    @abstractmethod
    def of_profiles(self, profiles: sp.csr_matrix, popular: np.ndarray) -> np.ndarray:
        """Return scores float32 [n, I].

        Args:
            profiles: float32 [n, I], no row empty.
            popular: scores of the fallback, float32 [n, I].
        """


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
class ItemKNN(_ByProfile):
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
        fallback: RecentPopularity,
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

    def of_profiles(self, profiles: sp.csr_matrix, popular: np.ndarray) -> np.ndarray:
        """Return summed similarities, then popularity below them, float32 [n, I]."""
        scores = np.asarray((profiles @ self.similarity.T).todense(), np.float32)
        # items without a similar one come after all others, most popular first
        least = np.where(scores > 0, scores, np.inf).min(axis=1, keepdims=True)
        least = np.where(np.isfinite(least), least, 1.0)
        share = popular / (popular.max(axis=1, keepdims=True) + 1.0)
        return np.where(scores > 0, scores, 0.5 * least * share).astype(np.float32)


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
    by_user, found = of_items.T.tocsc(), []
    for start in range(0, of_items.shape[0], _ITEMS_PER_BLOCK):
        block = np.arange(start, min(start + _ITEMS_PER_BLOCK, of_items.shape[0]))
        products = np.asarray((of_items[block] @ by_user).todense(), np.float64)
        products[np.arange(len(block)), block] = 0.0
        if weighting != "bm25":
            products /= np.maximum(np.outer(length[block], length) + added, 1e-12)
        if neighbours < products.shape[1]:
            far = np.argpartition(-products, neighbours, axis=1)[:, neighbours:]
            np.put_along_axis(products, far, 0.0, axis=1)
        found.append(sp.csr_matrix(np.maximum(products, 0.0).astype(np.float32)))
    return sp.vstack(found, format="csr")


@dataclass(frozen=True)
class Ease(_ByProfile):
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
        fallback: RecentPopularity,
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

    def of_profiles(self, profiles: sp.csr_matrix, popular: np.ndarray) -> np.ndarray:
        """Return weighted profiles, float32 [n, I]; 0 for items without weights."""
        scores = np.zeros(popular.shape, np.float32)
        scores[:, self.chosen] = profiles[:, self.chosen] @ self.weights
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
class ImplicitALS(_ByProfile):
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
        fallback: RecentPopularity,
        *,
        factors: int,
        regularisation: float,
        alpha: float,
        iterations: int,
        half_life: float,
        seed: int = 0,
    ) -> ImplicitALS:
        """Fit the factors to clicks, ones [U, I]; alpha: of the confidence."""
        confidence = clicks.copy()
        confidence.data = 1.0 + alpha * confidence.data
        # with few clicks, a pool of threads costs more time than it saves; 0: one per core
        threads = 0 if clicks.nnz > _CLICKS_FOR_THREADS else 1
        with threadpool_limits(1, "blas"):
            model = _implicit("cpu.als").AlternatingLeastSquares(
                factors=factors,
                regularization=regularisation,
                iterations=iterations,
                random_state=seed,
                num_threads=threads,
            )
            model.fit(confidence, show_progress=False)
        model.num_threads = 1  # only some hundred visitors are folded in at a time
        return cls(log, fallback, half_life, _clicked(clicks), model, alpha)

    def of_profiles(self, profiles: sp.csr_matrix, popular: np.ndarray) -> np.ndarray:
        """Return products of folded-in visitors and item factors, float32 [n, I]."""
        confidence = profiles.copy()
        confidence.data = 1.0 + self.alpha * confidence.data
        with threadpool_limits(1, "blas"):
            visitors = self.model.recalculate_user(np.arange(profiles.shape[0]), confidence)
            scores: np.ndarray = visitors @ self.model.item_factors.T
        return scores
