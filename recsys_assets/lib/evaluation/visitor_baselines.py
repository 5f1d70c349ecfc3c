"""Defines the base of all baselines that use the visitor's clicks before the query.

When they answer, they have the visitor's clicks strictly before the query's second, as the served
lists have. Visitors without clicks get popularity.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import scipy.sparse as sp

from recsys_assets.columns import TIMESTAMP, USER_ID
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.popular_baselines import Popular

if TYPE_CHECKING:
    from recsys_assets.lib.evaluation.queries import Queries

_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class ByVisitor(ABC):
    """Scores items from a visitor's clicks; ``fallback`` answers where there are none."""

    log: ClickLog  # reaches up to the last query
    fallback: Popular

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the scores of the queries ``rows``, float [n, I]."""
        code = self.log.codes(queries.frame[USER_ID][rows])
        at = queries.frame[TIMESTAMP].to_numpy()[rows]
        # the lines of one order have one moment, and so one answer
        _, first, of = np.unique(
            np.stack([code, at]), axis=1, return_index=True, return_inverse=True
        )
        clicks = self.clicks(code[first], at[first])
        scores = self.fallback.scores(queries, rows[first])
        known = np.diff(clicks.indptr) > 0
        if known.any():
            scores[known] = self.of_clicks(clicks[known], scores[known])
        return scores[of]

    @abstractmethod
    def clicks(self, code: np.ndarray, at: np.ndarray) -> sp.csr_matrix:
        """Return the weighted clicks of each visitor before a moment, float32 [n, I].

        Args:
            code: int64 [n], of ``ClickLog.codes``.
            at: unix seconds, int64 [n].
        """

    @abstractmethod
    def of_clicks(self, clicks: sp.csr_matrix, popular: np.ndarray) -> np.ndarray:
        """Return scores, float [n, I].

        Args:
            clicks: of ``clicks``, no row empty.
            popular: scores of the fallback, float [n, I].
        """


@dataclass(frozen=True)
class ByProfile(ByVisitor):
    """Scores items from a profile: all clicks of a visitor, newer ones weighing more."""

    half_life: float  # days
    #: bool [I], items that had a click when the model was fitted; a profile has no others
    fitted: np.ndarray

    def clicks(self, code: np.ndarray, at: np.ndarray) -> sp.csr_matrix:
        """Return the profiles, float32 [n, I]; the latest click weighs 1."""
        profiles = self.log.profiles(code, at, self.half_life)
        profiles.data *= self.fitted[profiles.indices]
        profiles.eliminate_zeros()
        return profiles


@dataclass(frozen=True)
class OwnCounts(ByVisitor):
    """Scores items by the visitor's own clicks, newer ones weighing more, plus popularity.

    Where repeats are hidden, popularity orders what is left.
    """

    half_life: float  # days
    popularity: float  # weight of the most popular item; the visitor's own first item has 1
    name: ClassVar[str] = "own_counts"

    def clicks(self, code: np.ndarray, at: np.ndarray) -> sp.csr_matrix:
        """Return the profiles, float32 [n, I]."""
        return self.log.profiles(code, at, self.half_life)

    def of_clicks(self, clicks: sp.csr_matrix, popular: np.ndarray) -> np.ndarray:
        """Return own counts plus popularity, float64 [n, I]."""
        owner = np.repeat(np.arange(clicks.shape[0]), np.diff(clicks.indptr))
        most = np.maximum.reduceat(clicks.data, clicks.indptr[:-1])
        scores = _scaled(popular, np.full(len(popular), self.popularity))
        scores[owner, clicks.indices] += clicks.data / most[owner]
        return scores


def above_popularity(scores: sp.csr_matrix, popular: np.ndarray) -> np.ndarray:
    """Return the scores, and popularity below them where there is none, float64 [n, I].

    Args:
        scores: at least 0, [n, I].
        popular: at least 0, float [n, I].
    """
    scores.eliminate_zeros()
    owner = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    least = np.full(scores.shape[0], 1.0)
    scored = np.diff(scores.indptr) > 0
    least[scored] = np.minimum.reduceat(scores.data, scores.indptr[:-1][scored])
    # most of a large catalogue has no score, so only the popularity is dense
    filled = _scaled(popular, 0.5 * least)
    filled[owner, scores.indices] = scores.data
    return filled


def _scaled(popular: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return popularity, scaled so that the most popular item of row n has most[n]."""
    highest = np.maximum(popular.max(axis=1), _TINY)
    scaled: np.ndarray = popular * (most / highest)[:, None]
    return scaled
