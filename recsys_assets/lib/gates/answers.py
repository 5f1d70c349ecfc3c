"""Holds what a candidate and its champion answer to the same held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.gates.evidence_types import Latencies
from recsys_assets.lib.release.rung import FULL, RungName
from recsys_assets.partitions import day_bounds


@dataclass(frozen=True)
class ModelAnswers:
    """Holds the answers of a generation to Q queries and N exposures."""

    served: Lists
    retrieval: Lists
    scores: np.ndarray  # float32 [N], click probabilities

    @classmethod
    def ask(cls, generation: Generation, queries: Queries, exposures: pl.DataFrame) -> ModelAnswers:
        """Run a generation on all queries and exposures."""
        return cls(
            list_metrics.run(generation.served, queries),
            list_metrics.run(generation.retrieval, queries),
            generation.click_scores(exposures),
        )

    @classmethod
    def of_lists(cls, arrays: Mapping[str, np.ndarray], scores: np.ndarray) -> ModelAnswers:
        """Take the lists from arrays of ``offline.measure`` or of a ``lists.npz``."""
        served, retrieval = (
            Lists(arrays[f"{name}_ranks"], arrays[f"{name}_top"])
            for name in ("served", "retrieval")
        )
        return cls(served, retrieval, scores)

    def where(self, asked: np.ndarray, rows: np.ndarray, others: ModelAnswers) -> ModelAnswers:
        """Return these answers to some queries and exposures, and those of others to the rest.

        Args:
            asked: bool [Q], queries that these answer.
            rows: bool [N], exposures that these answer.
            others: to the same queries and exposures.
        """
        return ModelAnswers(
            self.served.where(asked, others.served),
            self.retrieval.where(asked, others.retrieval),
            np.where(rows, self.scores, others.scores),
        )


@dataclass(frozen=True)
class ChampionAnswers:
    """Holds the champion's answers to the same queries and exposures."""

    release: int
    day: str  # ISO, of the release
    learnt_until: str  # ISO, the last day whose rows it has learnt
    answers: ModelAnswers
    latency_ms: Latencies | None = None  # None where it has no learned models
    rung: RungName = FULL
    older_by: int | None = None  # release that answers for the days it has learnt; None: itself


def after(day: str, timestamps: pl.Series, zone: str) -> np.ndarray:
    """Return which rows are later than a day (ISO), bool [n]; timestamps: seconds, int64 [n]."""
    later: np.ndarray = timestamps.to_numpy() >= day_bounds(day, zone)[1]
    return later
