"""The form of the evidence that the gates judge, as ``verdict.json`` holds it."""

from __future__ import annotations

from typing import NotRequired, Required, TypedDict

from recsys_assets.lib.evaluation.measures import Estimate, RankerFigures
from recsys_assets.lib.release.rung import RungName


class ChampionDifference(Estimate):
    """Holds the paired difference candidate − champion of one metric."""

    champion: float  # the champion's own figure


ChampionEvidence = TypedDict(
    "ChampionEvidence",
    {
        "release": int,
        "rung": RungName,
        "queries": int,
        "visitors": int,  # of the queries
        "rows": int,  # exposures
        "clicked": int,  # of the rows
        "row_visitors": int,
        "judged_on": str,  # days, ISO, joined by commas
        #: release that answers for the days that the champion has learnt; None: no such day, or
        #: the champion itself
        "older_by": int | None,
        "served ndcg@10": ChampionDifference | None,  # None without a query
        "retrieval recall@100": ChampionDifference | None,
        "auc": ChampionDifference | None,  # None where the rows have one class
        #: absent where each click counts once; None without a value above 0
        "served value_ndcg@10": NotRequired[ChampionDifference | None],
    },
)


class SliceEvidence(TypedDict, total=False):
    """Holds the served recall of a slice; an empty slice has "queries" alone."""

    queries: Required[int]
    visitors: int
    value: float
    other: float  # recall of popularity, or of a random order
    high: float  # upper bound of value − other
    champion_high: float | None  # upper bound of value − the champion's; None without a champion


class RungEvidence(TypedDict):
    """Holds the comparison with the simple rung of the same as-of day."""

    name: str
    queries: int
    difference: Estimate | None  # served nDCG@10, candidate − simple rung; None without a query
    value_difference: NotRequired[Estimate | None]  # VALUE_NDCG; absent: each click counts once


class RankerEvidence(RankerFigures):
    """Holds the figures of the ranker on the held-out exposures."""

    calibration_noise: float | None
    clicked: int  # of the rows


ExposureEvidence = TypedDict(
    "ExposureEvidence",
    {
        "concentration": float,
        "popularity_concentration": float,
        "coverage@10": float,
        "possible_coverage": float,
        "champion_concentration": float | None,  # None before the first promotion
        "champion_coverage": float | None,
        "items": int,
    },
)


class FreshnessEvidence(TypedDict):
    """Holds the last days that candidate and champion have learnt, ISO."""

    day: str
    champion_day: str | None


class Latencies(TypedDict):
    """Holds the median time of one call of each model, milliseconds."""

    query_tower: float
    ranker: float


class FeatureDrift(TypedDict):
    """Holds the divergence of one feature's held-out days from its training days, in bits."""

    value: float
    chance: float  # expected of two samples of these sizes from one distribution


class IndexEvidence(TypedDict):
    """Holds the agreement of the index with exact search, and its floor."""

    recall: float | None
    recall_floor: float | None


class Evidence(TypedDict, total=False):
    """Holds everything that the gates judge of one candidate.

    A missing part fails its checks. Only a full release needs "popularity" and "index".
    """

    queries: int
    visitors: int  # of the queries
    champion: ChampionEvidence | None  # None before the first promotion
    popularity: Estimate | None  # served nDCG@10, candidate − recent popularity; None: no query
    rung: RungEvidence
    slices: dict[str, SliceEvidence]
    ranker: RankerEvidence
    exposure: ExposureEvidence
    freshness: FreshnessEvidence
    latency_ms: Latencies | None  # None without a held-out row
    champion_latency_ms: Latencies | None  # None where the champion has no learned models
    drift: dict[str, FeatureDrift]  # by feature
    parity: dict[str, float]  # ONNX file → largest difference from TensorFlow
    index: IndexEvidence
