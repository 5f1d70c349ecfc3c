"""Gathers the evidence of the gates: a candidate and its champion on the same held-out rows.

All figures follow from *answers*: the ranks and lists that a generation gives to the queries, and
the click probabilities that its ranker gives to the exposures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.evaluation import list_metrics, ranker_metrics
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.list_metrics import Lists, SameForAll, Scorer
from recsys_assets.lib.evaluation.measures import PRIMARY, VALUE_NDCG, ReliabilityBin
from recsys_assets.lib.evaluation.paired_auc import auc_difference
from recsys_assets.lib.evaluation.queries import Queries, visitor_of_row
from recsys_assets.lib.exports import latency
from recsys_assets.lib.gates.answers import ChampionAnswers, ModelAnswers, after
from recsys_assets.lib.gates.evidence_types import (
    ChampionDifference,
    ChampionEvidence,
    Evidence,
    ExposureEvidence,
    FeatureDrift,
    Latencies,
    RankerEvidence,
    SliceEvidence,
)
from recsys_assets.lib.quality import drift, profiles
from recsys_assets.local_time import day_name, local_days

#: Below this many queries of days that the champion has not learnt, compare on all queries. A
#: fine-tune does not answer those that it has learnt; see ``ChampionAnswers.older_by``.
UNLEARNT_QUERIES = 200
#: Least number of items in ``concentration``: as many as one list shows.
_MOST_SHOWN = list_metrics.SHOWN


def gather(
    candidate: ModelAnswers,
    queries: Queries,
    exposures: pl.DataFrame,
    *,
    day: str,
    seed: int,
    champion: ChampionAnswers | None,
    recent: Scorer | None = None,
) -> Evidence:
    """Return the evidence of quality: all of Evidence but the figures of the candidate's exports.

    Args:
        exposures: INTERACTION_FEATURES, N held-out rows, clicked or not.
        seed: of the bootstrap.
        day: ISO, of the candidate's release.
        recent: recent popularity; where given, the evidence has "popularity".

    Raises:
        ValueError: the answers are to other queries or exposures.
    """
    if len(candidate.served.ranks) != len(queries) or len(candidate.scores) != exposures.height:
        raise ValueError(
            f"{len(candidate.served.ranks)} ranks and {len(candidate.scores)} scores for "
            f"{len(queries)} queries and {exposures.height} exposures: the answers are of others; "
            "materialise evaluation/offline again"
        )
    whole = queries.overall
    popular = list_metrics.run(SameForAll("popularity", queries.clicks), queries)
    before = champion.answers.served if champion else None
    found: Evidence = {
        "queries": int(whole.sum()),
        "visitors": _distinct(queries.users[whole]),
        "champion": against_champion(candidate, champion, queries, exposures, seed)
        if champion
        else None,
        "slices": {
            "cold_users": _slice(
                candidate.served, queries, "cold_users", "recall@100", popular, before
            ),
            "new_items": _slice(candidate.served, queries, "new_items", "recall@50", None, before),
        },
        "ranker": _ranker(exposures[c.CLICK].to_numpy(), candidate.scores),
        "exposure": _exposure(candidate.served, popular, queries, champion),
        "freshness": {"day": day, "champion_day": champion.day if champion else None},
        "champion_latency_ms": champion.latency_ms if champion else None,
    }
    if recent is not None:
        asked = list_metrics.run(recent, queries)
        found["popularity"] = list_metrics.overall_difference(
            candidate.served.ranks, asked.ranks, queries, seed
        )
    return found


def _distinct(users: np.ndarray) -> int:
    return len(np.unique(users))


def _exposure(
    served: Lists, popular: Lists, queries: Queries, champion: ChampionAnswers | None
) -> ExposureEvidence:
    """Return how much the served lists differ, beside popularity's and the champion's."""
    whole = queries.overall
    before = champion.answers.served.top[whole] if champion else None
    return {
        "concentration": concentration(served.top[whole], queries.items),
        "popularity_concentration": concentration(popular.top[whole], queries.items),
        "coverage@10": float(len(np.unique(_shown(served.top[whole]))) / queries.items),
        "possible_coverage": min(1.0, list_metrics.SHOWN * int(whole.sum()) / queries.items),
        "champion_concentration": None if before is None else concentration(before, queries.items),
        "champion_coverage": None
        if before is None
        else float(len(np.unique(_shown(before))) / queries.items),
        "items": queries.items,
    }


def _ranker(clicked: np.ndarray, scores: np.ndarray) -> RankerEvidence:
    alone = ranker_metrics.one_class(clicked)
    noise = None if alone else calibration_noise(ranker_metrics.reliability(clicked, scores))
    return {
        **ranker_metrics.ranking_metrics(clicked, scores),
        "calibration_noise": noise,
        "clicked": int(np.count_nonzero(clicked)),
    }


def against_champion(
    candidate: ModelAnswers,
    champion: ChampionAnswers,
    queries: Queries,
    exposures: pl.DataFrame,
    seed: int,
) -> ChampionEvidence:
    """Return the paired differences candidate − champion.

    They are taken on the rows of days that the champion has not learnt. A fine-tune has learnt most
    rows of its day, and would win by memory. With fewer than UNLEARNT_QUERIES such queries, they
    are taken on all rows.
    """
    zone = queries.time_zone
    later, rows = (
        after(champion.learnt_until, frame[c.TIMESTAMP], zone)
        for frame in (queries.frame, exposures)
    )
    asked = queries.overall & later
    if asked.sum() < UNLEARNT_QUERIES:
        asked, rows = queries.overall, np.ones(exposures.height, bool)
    users = queries.users[asked]

    values = queries.values_of(asked)

    def difference(own: Lists, others: Lists, metric: str) -> ChampionDifference | None:
        if not len(users):
            return None
        of_own, of_others = own.ranks[asked], others.ranks[asked]
        if metric != VALUE_NDCG:
            of_champion = list_metrics.point(of_others, users, metric)
            paired = list_metrics.paired_difference(of_own, of_others, users, metric, seed)
        elif values is None or not values.any():
            return None
        else:
            of_champion = list_metrics.point(of_others, users, metric, values)
            paired = list_metrics.paired_difference(
                of_own, of_others, users, PRIMARY, seed, values=values
            )
        return {**paired, "champion": of_champion}

    answers, judged = champion.answers, exposures.filter(pl.Series(rows))
    visitors = _visitors(judged)
    found: ChampionEvidence = {
        "release": champion.release,
        "rung": champion.rung,
        "queries": int(asked.sum()),
        "visitors": _distinct(users),
        "rows": judged.height,
        "clicked": int(judged[c.CLICK].sum()),
        "row_visitors": _distinct(visitors),
        "judged_on": _days(queries.frame.filter(pl.Series(asked)), zone),
        "older_by": None if (asked <= later).all() else champion.older_by,
        "served ndcg@10": difference(candidate.served, answers.served, "ndcg@10"),
        "retrieval recall@100": difference(candidate.retrieval, answers.retrieval, "recall@100"),
        "auc": _auc_difference(
            judged[c.CLICK].to_numpy(), visitors, candidate.scores[rows], answers.scores[rows]
        ),
    }
    if values is not None:
        found["served value_ndcg@10"] = difference(candidate.served, answers.served, VALUE_NDCG)
    return found


def _visitors(exposures: pl.DataFrame) -> np.ndarray:
    """Return the visitor of each row; one without a user id counts as a visitor of its own."""
    return exposures.select(visitor_of_row()).to_series().to_numpy()


def _auc_difference(
    clicked: np.ndarray, visitors: np.ndarray, candidate: np.ndarray, champion: np.ndarray
) -> ChampionDifference | None:
    """Return the difference of AUC on N exposures; None where they have one class.

    candidate, champion: their click probabilities, float32 [N].
    """
    if ranker_metrics.one_class(clicked):
        return None
    return {
        **auc_difference(clicked, candidate, champion, visitors),
        "champion": ranker_metrics.auc(clicked, champion),
    }


def _days(frame: pl.DataFrame, zone: str) -> str:
    """Return the days of the rows, ISO, joined by commas."""
    days = np.unique(local_days(frame[c.TIMESTAMP].to_numpy(), zone))
    return ", ".join(day_name(int(day)) for day in days)


def _slice(
    served: Lists,
    queries: Queries,
    name: str,
    metric: str,
    popular: Lists | None,
    champion: Lists | None,
) -> SliceEvidence:
    """Return the served recall of a slice beside popularity's and the champion's.

    popular: popularity's lists; None compares with a random order instead.
    """
    inside = queries.slices.get(name, np.zeros(len(queries), bool))
    if not inside.any():
        return {"queries": 0}
    users, k, own = queries.users[inside], int(metric.split("@")[1]), served.ranks[inside]

    def high(others: Lists) -> float:
        return list_metrics.paired_difference(own, others.ranks[inside], users, metric)["high"]

    recall = list_metrics.list_metrics(own, users)[metric]
    if popular:
        ranks = popular.ranks[inside]
        other = list_metrics.list_metrics(ranks, users, resamples=1)[metric]["value"]
    else:
        other = list_metrics.random_recall(queries, np.flatnonzero(inside), k)
    return {
        "queries": int(inside.sum()),
        "visitors": _distinct(users),
        "value": recall["value"],
        "other": other,
        "high": high(popular) if popular else recall["high"] - other,
        "champion_high": high(champion) if champion else None,
    }


def calibration_noise(reliability: Sequence[ReliabilityBin]) -> float:
    """Return the calibration error that a perfect model is expected to show by chance.

    It is the mean absolute deviation of a binomial share, sqrt(2 / π · p (1 − p) / n), weighted by
    rows.

    Args:
        reliability: of ``ranker_metrics.reliability``.
    """
    rows = sum(row["rows"] for row in reliability)
    return float(
        sum(
            row["rows"]
            * np.sqrt(2 / np.pi * row["predicted"] * (1 - row["predicted"]) / row["rows"])
            for row in reliability
        )
        / rows
    )


def concentration(top: np.ndarray, items: int) -> float:
    """Return the share of all places that the most shown items take.

    The most shown items are a hundredth of the catalogue, but at least as many as a list has.

    Args:
        top: int [Q, SHOWN], catalogue rows, -1 where a list ends earlier.
        items: of the catalogue.
    """
    shown = np.sort(np.bincount(_shown(top), minlength=items))
    return float(shown[-max(_MOST_SHOWN, items // 100) :].sum() / max(shown.sum(), 1))


def _shown(top: np.ndarray) -> np.ndarray:
    return top[top >= 0]


# --- beside quality -------------------------------------------------------------------------------
def latencies(
    generation: Generation,
    query_tower: Path,
    ranker: Path,
    queries: Queries,
    exposures: pl.DataFrame,
) -> Latencies | None:
    """Measure one call of each model, on as many rows as in serving; None without a row.

    query_tower, ranker: the ONNX files.
    """
    if not len(queries) or exposures.is_empty():
        return None
    rows = exposures[np.arange(latency.RANKER_ROWS) % exposures.height]
    return {
        "query_tower": latency.median_ms(
            query_tower,
            generation.query_inputs(queries.frame[: latency.QUERY_ROWS]),
            optional=c.QUERY_OF_ITEMS,
        ),
        "ranker": latency.median_ms(ranker, generation.row_inputs(rows)),
    }


def input_drift(
    training: Sequence[Artifact], held_out: Sequence[Artifact], *, first_day: str
) -> dict[str, FeatureDrift]:
    """Return per feature the divergence of the held-out days from the training days.

    It is the Jensen-Shannon divergence, bits, beside what chance gives. Features with fewer than
    drift.MINIMUM_ROWS rows on either side are left out.

    Args:
        training: ``features/interactions`` of the training days.
        held_out: ``features/interactions`` of the held-out days.
        first_day: of the calendar, ISO; on it, features that look back are empty.
    """
    if not training or not held_out:
        return {}
    before, now = _profile(training), _profile(held_out)
    found: dict[str, FeatureDrift] = {}
    for (feature,), part in now.group_by("feature", maintain_order=True):
        base = before.filter(
            (pl.col("feature") == feature)
            & ~((pl.col("day") == first_day) & (feature in drift.RECENT))
        )
        if min(part["rows"].sum(), base["rows"].sum()) >= drift.MINIMUM_ROWS:
            new, old = drift.counts(part, base)
            found[str(feature)] = {
                "value": drift.jensen_shannon(new, old),
                "chance": drift.by_chance(new, old),
            }
    return found


def _profile(days: Sequence[Artifact]) -> pl.DataFrame:
    def of(day: Artifact) -> pl.DataFrame:
        # older artifacts have no profile file
        if profiles.PROFILE_FILE in day.manifest["files"]:
            return pl.read_parquet(day.path(profiles.PROFILE_FILE))
        return profiles.profile(
            pl.read_parquet(day.path("features.parquet")), profiles.DAY_FEATURES
        )

    return pl.concat([of(day).with_columns(day=pl.lit(str(day.partition))) for day in days])
