"""Defines the baselines without a profile: random, and popularity by day and by the second.

They are scorers over the whole catalogue (``list_metrics.Scorer``). Popularity over all training
days is ``list_metrics.SameForAll``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from recsys_assets.columns import TIMESTAMP
from recsys_assets.lib.evaluation.click_log import ClickLog, days_of

if TYPE_CHECKING:
    from recsys_assets.lib.evaluation.queries import Queries


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


@dataclass(frozen=True)
class StreamedPopularity:
    """Scores items by the clicks of all visitors before the query's second, with decay."""

    log: ClickLog
    half_life: float  # hours
    name: ClassVar[str] = "streamed_popularity"

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the weighted clicks before each query, float64 [n, I]."""
        return self.log.streamed(queries.frame[TIMESTAMP].to_numpy()[rows], self.half_life)


Popular = RecentPopularity | StreamedPopularity
