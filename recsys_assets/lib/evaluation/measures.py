"""The forms of the figures that an evaluation keeps: JSON objects with fixed keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

#: The metric by which systems are compared.
PRIMARY = "ndcg@10"
#: PRIMARY with queries weighted by their values; absent where each click counts once.
VALUE_NDCG = "value_ndcg@10"
#: Share of the lists that hold an item that their visitor dismisses later; see ``dismissals``.
DISMISSED_AT = "dismissed@10"


class Estimate(TypedDict):
    """Holds a mean over users and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


#: Metric, one of ``list_metrics.METRICS``, VALUE_NDCG or DISMISSED_AT → its estimate; empty where
#: there was no query.
ListFigures = dict[str, Estimate]
#: A slice: the keys of ListFigures, "queries", "random_recall@50" and "simulated".
SliceFigures = dict[str, Any]


class ReliabilityBin(TypedDict):
    """Holds the mean predicted and observed click rate of some rows."""

    predicted: float
    observed: float
    rows: int


class RankerFigures(TypedDict):
    """Holds the figures of a ranker; four are None where the rows have one class."""

    auc: float | None
    log_loss: float | None
    log_loss_of_mean: float | None  # of a constant prediction, the click rate
    calibration_error: float | None
    click_rate: float | None  # None without rows
    rows: int


class RankerReport(RankerFigures):
    """Holds the figures of a ranker and its reliability table."""

    reliability: list[ReliabilityBin]


class GenerationFigures(TypedDict):
    """Holds the figures of one generation on queries and exposures."""

    served: ListFigures
    retrieval: ListFigures
    slices: dict[str, SliceFigures]  # of the served lists
    slices_retrieval: dict[str, SliceFigures]
    beyond_accuracy: dict[str, dict[str, float]]  # "served" and "retrieval"
    ranker: RankerReport


class MoveFigures(TypedDict):
    """Holds figures of lists after clicks of a session; None: too few queries."""

    queries: int
    visitors: int
    changed: Estimate | None  # items of the first 10 that are there by the clicks
    median_changed: float | None  # over the queries
    after: Estimate | None  # nDCG@10 of the next click, by the list that has the clicks
    before: Estimate | None  # the same, by the list without them
    gain: Estimate | None  # after − before, paired


#: Taste, one of ``session_moves.TASTES`` → number of clicks, as text → figures.
SessionMoves = dict[str, dict[str, MoveFigures]]


class OfflineFigures(GenerationFigures):
    """Holds the content of ``metrics.json`` of ``evaluation/offline``."""

    rows: int  # exposures of the validation days
    clicks: int
    queries: int  # that count overall
    items: int
    seen_share: float
    cold_users_simulated: bool
    models: NotRequired[ListFigures]  # both models alone, without other sources
    popularity: ListFigures
    random: ListFigures
    retrieval_minus_popularity: Estimate | None  # recall@100, paired; None without a query
    session_moves: SessionMoves  # of the served lists


class QueryCounts(TypedDict):
    """Holds the counts of ``Queries.build``."""

    rows: int  # queries, the simulated ones included
    queries: int
    users: int
    items: int  # of the catalogue
    clicks: int  # of the validation days, on items of the catalogue
    sampled_clicks: int
    seen_share: float  # of the sampled clicks, on items that the seen filter drops
    cold_queries: int
    cold_users_simulated: bool
    seen_rule: str  # in words
    time_zone: NotRequired[str]
    mean_value: NotRequired[float]  # of the queries; absent where each click counts once
    slices: dict[str, int]  # queries of each slice


class VariantFigures(TypedDict):
    """Holds the figures of one ablation on the queries of its base."""

    served: ListFigures
    retrieval: ListFigures
    slices: dict[str, SliceFigures]
    slices_retrieval: dict[str, SliceFigures]
    ranker: RankerReport
    queries: int


class MeasuredGeneration(TypedDict):
    """Holds ``evaluation.json`` without its targets; see docs/evaluation.md."""

    scale: str
    as_of: str
    simulated: bool  # the log has a truth, so there is an oracle
    served: dict[str, Any]
    models: dict[str, Any]  # both models alone, which the ablations are compared with
    retrieval: dict[str, Any]
    oracle: dict[str, Any] | None
    baselines: dict[str, dict[str, Any]]
    best_baseline: dict[str, Any] | None  # "name", "ndcg@10", "served_minus"; None without a query
    ranker: dict[str, Any]
    slices: dict[str, dict[str, Any]]
    ablations: dict[str, dict[str, Any]]
    beyond_accuracy: dict[str, dict[str, float]]
    session_moves: dict[str, dict[str, Any]]  # of SessionMoves; empty for an older evaluation
    queries: dict[str, Any]
    notes: list[str]


class EvaluationSummary(MeasuredGeneration):
    """Holds the content of ``evaluation.json``."""

    targets: list[dict[str, Any]]  # the fields of summary.Target


def value_of(estimate: Any, part: str = "value") -> float | None:
    """Return a part of an estimate, or a plain number; None where absent or not finite."""
    found = estimate.get(part) if isinstance(estimate, Mapping) else estimate
    return None if found is None or not math.isfinite(found) else float(found)


def best_baseline(baselines: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the name of the best tuned baseline; None where none has a figure.

    It has the highest nDCG@10 on the queries that it is compared on, so the choice favours it.
    """
    values = {name: value_of(figures.get(PRIMARY)) for name, figures in baselines.items()}
    judged = {name: value for name, value in values.items() if value is not None}
    return max(judged, key=lambda name: judged[name]) if judged else None
