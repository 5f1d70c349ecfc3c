"""Computes metrics of ranked lists over a whole catalogue from the rank of the true item.

Metrics are taken per user and then averaged over users (as RecTools does), so that heavy users do
not dominate. Intervals are bootstrapped over users for the same reason. All systems answer the same
queries, so differences are paired: the interval of a difference is much narrower than those of the
two systems.

``run`` applies the seen filter to every scorer. In a catalogue of fewer than k items, recall@k is 1
for any system that shows them all, so it compares nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.evaluation.measures import (
    PRIMARY,
    VALUE_NDCG,
    Estimate,
    ListFigures,
    SliceFigures,
)
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.visitor_means import visitor_means

RECALL_AT = (10, 50, 100, 300)
NDCG_AT = MRR_AT = (10, 100, 300)
METRICS = (
    *(f"recall@{k}" for k in RECALL_AT),
    *(f"ndcg@{k}" for k in NDCG_AT),
    *(f"mrr@{k}" for k in MRR_AT),
)
BOOTSTRAP_RESAMPLES = 500
SHOWN = 10  # items of a list whose variety is judged
_CHUNK = 512  # queries or lists at a time
_CELLS = 2**25  # scores at a time, at most; 256 MB in float64


class Scorer(Protocol):
    """Any system that scores a whole catalogue."""

    @property
    def name(self) -> str:
        """Name of the system, as files and figures show it."""

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Score the catalogue for the queries ``rows``, int64 [n]: float [n, I].

        Higher is better. An item of -inf is never shown.
        """


class RowScorer(Scorer, Protocol):
    """A system that can read a visitor's clicks in the rows of the queries."""

    def of_rows(self) -> RowScorer:
        """Return the same system, which reads the clicks of each query's row."""


@dataclass(frozen=True)
class Lists:
    """Holds the answers of a system to Q queries."""

    ranks: np.ndarray  # int32 [Q], of the true item; I + 1 where it is never shown
    top: np.ndarray  # int32 [Q, SHOWN], catalogue rows, best first; -1 where the list ends earlier

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return both arrays under their names in ``lists.npz``."""
        return {f"{name}_ranks": self.ranks, f"{name}_top": self.top}

    @classmethod
    def read(cls, artifact: Artifact, name: str) -> Lists:
        """Read a system's lists from the ``lists.npz`` of an artifact.

        Raises:
            KeyError: it has no such system; the message names those that it has.
        """
        return cls.stored(artifact.path("lists.npz"), name, artifact.kind)

    @classmethod
    def stored(cls, path: Path, name: str, kind: str = "lists.npz") -> Lists:
        """Read a system's lists from a ``lists.npz``; kind: of the artifact, for the message.

        Raises:
            KeyError: as ``read``.
        """
        with np.load(path, allow_pickle=False) as stored:
            if f"{name}_ranks" not in stored:
                raise KeyError(f"{kind} has no lists of {name!r}; it has {sorted(stored)}")
            return cls(stored[f"{name}_ranks"], stored[f"{name}_top"])

    def where(self, asked: np.ndarray, others: Lists) -> Lists:
        """Return these lists of the queries ``asked`` (bool [Q]), and others of the rest."""
        return Lists(
            np.where(asked, self.ranks, others.ranks),
            np.where(asked[:, None], self.top, others.top),
        )


@dataclass(frozen=True)
class SameForAll:
    """A scorer that gives every visitor the same list, such as popularity."""

    name: str
    values: np.ndarray  # float [I]

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the same values for each query, float64 [n, I]."""
        return np.repeat(np.asarray(self.values, np.float64)[None], len(rows), axis=0)


# --- lists ----------------------------------------------------------------------------------------
def run(scorer: Scorer, queries: Queries, chunk: int | None = None) -> Lists:
    """Run a scorer on every query; equal scores rank in catalogue order.

    Args:
        scorer: of the whole catalogue.
        queries: to answer.
        chunk: queries at a time; None: as memory allows.

    Raises:
        ValueError: scores have another shape, or NaN is among them.
    """
    chunk = chunk or chunk_of(queries)
    ranks = np.empty(len(queries), np.int32)
    top = np.full((len(queries), SHOWN), -1, np.int32)
    for start in range(0, len(queries), chunk):
        rows = np.arange(start, min(start + chunk, len(queries)))
        scores = np.array(scorer.scores(queries, rows))  # a copy: the filter writes into it
        if scores.shape != (len(rows), queries.items) or np.isnan(scores).any():
            raise ValueError(
                f"{scorer.name}: scores must be numbers [{len(rows)}, {queries.items}], got "
                f"{scores.shape} with {int(np.isnan(scores).sum())} NaN; use -inf for an item "
                "that is never shown"
            )
        queries.mask(scores, rows)
        ranks[rows] = _ranks(scores, queries.true[rows])
        best = highest(scores, SHOWN)
        shown = np.take_along_axis(scores, best, axis=1) > -np.inf
        top[rows, : best.shape[1]] = np.where(shown, best, -1)
    return Lists(ranks, top)


def chunk_of(queries: Queries) -> int:
    """Return the number of queries whose scores over the catalogue fit into memory at a time."""
    return max(1, min(_CHUNK, _CELLS // max(queries.items, 1)))


def _ranks(scores: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the rank of each row's true item in scores [n, I], int64 [n].

    The rank is I + 1 where the score of the true item is -inf.
    """
    own = np.take_along_axis(scores, true[:, None], axis=1)
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < true[:, None]))
    ranks: np.ndarray = np.where(own[:, 0] > -np.inf, 1 + before.sum(axis=1), scores.shape[1] + 1)
    return ranks


def highest(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the columns of the k highest of scores [n, I], int64 [n, min(k, I)].

    The best comes first; equal scores are in column order.
    """
    k = min(k, scores.shape[1])
    border = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    # take all scores above the border, and the first ones of those that equal it
    above, at = scores > border, scores == border
    at &= np.cumsum(at, axis=1) <= k - above.sum(axis=1, keepdims=True)
    columns = np.nonzero(above | at)[1].reshape(len(scores), k)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


# --- accuracy -------------------------------------------------------------------------------------
def per_query(ranks: np.ndarray) -> dict[str, np.ndarray]:
    """Return every one of METRICS per query, float64 [Q] each.

    With one true item per query, the ideal DCG is 1, recall is 0 or 1, and all metrics follow from
    the rank (Järvelin, Kekäläinen 2002).
    """
    ranks = ranks.astype(np.float64)
    values = {f"recall@{k}": (ranks <= k).astype(np.float64) for k in RECALL_AT}
    values |= {f"ndcg@{k}": np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0) for k in NDCG_AT}
    return values | {f"mrr@{k}": np.where(ranks <= k, 1.0 / ranks, 0.0) for k in MRR_AT}


def list_metrics(
    ranks: np.ndarray,
    users: Sequence[Any] | np.ndarray,
    seed: int = 7,
    resamples: int = BOOTSTRAP_RESAMPLES,
    values: np.ndarray | None = None,
) -> ListFigures:
    """Return every one of METRICS, taken per user and then averaged.

    Args:
        ranks: int [Q], of the true items.
        users: [Q], the visitor of each query.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        values: float [Q], of the clicks. Given, and where one is above 0, VALUE_NDCG is among the
            metrics: the mean over users of Σ value · nDCG@10 / Σ value, of the users with a value
            above 0.

    Raises:
        ValueError: there is no rank, or not one user per rank.
    """
    of_row = per_query(np.asarray(ranks))
    means = visitor_means(np.stack(list(of_row.values())), users, seed, resamples)
    found: ListFigures = dict(zip(of_row, means, strict=True))
    if values is not None and values.any():
        (found[VALUE_NDCG],) = visitor_means(of_row[PRIMARY][None], users, seed, resamples, values)
    return found


def point(
    ranks: np.ndarray,
    users: Sequence[Any] | np.ndarray,
    metric: str = PRIMARY,
    values: np.ndarray | None = None,
) -> float:
    """Return one metric of ``list_metrics`` without its interval."""
    return list_metrics(ranks, users, resamples=1, values=values)[metric]["value"]


def paired_difference(
    ranks_a: np.ndarray,
    ranks_b: np.ndarray,
    users: Sequence[Any] | np.ndarray,
    metric: str = "ndcg@10",
    seed: int = 7,
    resamples: int = BOOTSTRAP_RESAMPLES,
    values: np.ndarray | None = None,
) -> Estimate:
    """Return a − b of one metric on the same queries, per user and then averaged.

    values: float [Q], of the clicks, by which the queries of a user are weighted; None: all alike.

    Raises:
        ValueError: the metric is none of METRICS, or the ranks are not of the same queries.
    """
    if metric not in METRICS or len(ranks_a) != len(ranks_b):
        raise ValueError(
            f"metric {metric!r} must be one of {', '.join(METRICS)}, and both systems must answer "
            f"the same queries ({len(ranks_a)} and {len(ranks_b)} ranks)"
        )
    difference = per_query(np.asarray(ranks_a))[metric] - per_query(np.asarray(ranks_b))[metric]
    return visitor_means(difference[None], users, seed, resamples, values)[0]


def overall_difference(
    ranks_a: np.ndarray,
    ranks_b: np.ndarray,
    queries: Queries,
    seed: int = 7,
    metric: str = "ndcg@10",
) -> Estimate | None:
    """Return a − b of one metric over the queries that ``judge`` counts; None without any.

    metric: one of METRICS, or VALUE_NDCG.
    """
    whole = queries.overall
    asked = ranks_a[whole], ranks_b[whole], queries.users[whole]
    if metric == VALUE_NDCG:
        values = queries.values_of(whole)
        if values is None or not values.any():
            return None
        return paired_difference(*asked, PRIMARY, seed, values=values)
    return paired_difference(*asked, metric, seed) if whole.any() else None


def mean_per_user(
    values: np.ndarray,
    users: Sequence[Any] | np.ndarray,
    seed: int = 7,
    resamples: int = BOOTSTRAP_RESAMPLES,
) -> Estimate:
    """Average and bootstrap any figure of queries, float [Q], as metrics of ranks are."""
    return visitor_means(np.asarray(values, np.float64)[None], users, seed, resamples)[0]


def judge(ranks: np.ndarray, queries: Queries, seed: int = 7) -> ListFigures:
    """Return ``list_metrics`` over all queries but those of simulated cold visitors.

    It is empty where there is no query.
    """
    whole = queries.overall
    if not whole.any():
        return {}
    values = queries.values_of(whole)
    return list_metrics(ranks[whole], queries.users[whole], seed, values=values)


def judge_slices(ranks: np.ndarray, queries: Queries, seed: int = 7) -> dict[str, SliceFigures]:
    """Return ``list_metrics`` per slice; empty slices are left out.

    Beside the metrics, a slice has "queries" (their number), "random_recall@50" (of
    ``random_recall``) and "simulated" (whether its visitors were masked to be cold).
    """
    users, masked = queries.users, ~queries.overall
    return {
        name: {
            **list_metrics(ranks[inside], users[inside], seed, values=queries.values_of(inside)),
            "queries": int(inside.sum()),
            "random_recall@50": random_recall(queries, np.flatnonzero(inside), 50),
            "simulated": bool(masked[inside].any()),
        }
        for name, inside in queries.slices.items()
        if inside.any()
    }


def random_recall(queries: Queries, rows: np.ndarray, k: int) -> float:
    """Return the expected recall@k of a random order of the items that the filter keeps.

    It is exact, and averaged over users.
    """
    left = queries.items - np.diff(queries.seen_start)[rows]
    _, user = np.unique(queries.users[rows], return_inverse=True)
    return float((np.bincount(user, np.minimum(1.0, k / left)) / np.bincount(user)).mean())


def random_metrics(items: int) -> dict[str, float]:
    """Return the exact expectation of every metric for a random order of I items."""
    return {
        name: float(values.mean()) for name, values in per_query(np.arange(1, items + 1)).items()
    }


# --- beyond accuracy ------------------------------------------------------------------------------
def beyond_accuracy(top: np.ndarray, clicks: np.ndarray, vectors: np.ndarray) -> dict[str, float]:
    """Describe what the lists show, without regard to clicks.

    Args:
        top: int [Q, SHOWN], catalogue rows, -1 where a list ends earlier.
        clicks: [I], of each item in the training days.
        vectors: float [I, D] of content; their length is free, an item without content is zeros.

    Returns:
        the figures that can be computed: none where no list shows an item, no diversity where no
        list shows two, no popularity_lift without a click.

        - coverage@10: share of the catalogue in at least one list.
        - novelty@10: mean self-information of the shown items, bits: −log2 of the item's share of
          the clicks, with one click added per item (Zhou et al. 2010).
        - diversity@10: mean over lists of 1 − cosine over the pairs of a list (Ziegler et al.
          2005).
        - gini@10: Gini coefficient of how often each item is shown (0: all alike, 1: one alone).
        - popularity_lift@10: mean clicks of a shown item over mean clicks of a clicked one. Above
          1, the lists are more popular than the clicked items.
        - top_1_percent_share: share of all places that the most shown hundredth of the catalogue
          takes.
    """
    listed, flat = top >= 0, top[top >= 0]
    if not flat.size:
        return {}
    shown = np.sort(np.bincount(flat, minlength=len(clicks)))
    clicks = np.asarray(clicks, np.float64)
    bits = -np.log2((clicks + 1) / (clicks + 1).sum())
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(
        vectors, length, out=np.zeros_like(vectors, dtype=np.float32), where=length > 0
    )
    n = listed.sum(axis=1)
    alike, itself = np.zeros(len(top)), np.zeros(len(top))
    for start in range(0, len(top), _CHUNK):
        rows = slice(start, start + _CHUNK)
        own = unit[np.maximum(top[rows], 0)] * listed[rows, :, None]
        alike[rows], itself[rows] = (own.sum(axis=1) ** 2).sum(axis=1), (own**2).sum(axis=(1, 2))
    pairs = n * (n - 1)
    variety = 1 - np.divide(alike - itself, pairs, out=np.zeros(len(top)), where=pairs > 0)
    order = np.arange(1, len(shown) + 1)
    figures = {
        "coverage@10": float((shown > 0).mean()),
        "novelty@10": float(bits[flat].mean()),
        "gini@10": float((2 * order - len(shown) - 1) @ shown / (len(shown) * shown.sum())),
        "top_1_percent_share": float(shown[-max(1, len(shown) // 100) :].sum() / shown.sum()),
    }
    if (pairs > 0).any():
        figures["diversity@10"] = float(variety[pairs > 0].mean())
    if clicks.any():
        clicked = (clicks**2).sum() / clicks.sum()
        figures["popularity_lift@10"] = float(clicks[flat].mean() / clicked)
    return figures


def estimates(values: Mapping[str, float]) -> dict[str, Estimate]:
    """Return exact values as estimates whose bounds equal the value."""
    return {name: {"value": value, "low": value, "high": value} for name, value in values.items()}
