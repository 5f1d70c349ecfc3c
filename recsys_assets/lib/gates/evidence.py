"""What the gates judge by: figures of a candidate and its champion on the same held-out rows.

Everything follows from *answers*: the ranks and lists that a generation gave to the queries, and
its ranker's probabilities for the exposures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.columns import SECONDS_PER_DAY
from recsys_assets.lib.evaluation import list_metrics, ranker_metrics
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.list_metrics import Lists, SameForAll, Scorer
from recsys_assets.lib.evaluation.paired_auc import auc_difference
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.exports import latency
from recsys_assets.lib.quality import drift, profiles
from recsys_assets.partitions import day_bounds

#: Fewer queries of days that the champion has not learnt than this, and it is judged on all of
#: them, to its advantage.
UNLEARNT_QUERIES = 200
#: Items whose share of the places is the concentration: the hundredth of the catalogue, but as many
#: as one list shows.
_MOST_SHOWN = list_metrics.SHOWN


@dataclass(frozen=True)
class ModelAnswers:
    """What a generation said to Q queries and N exposures."""

    served: Lists
    retrieval: Lists
    scores: np.ndarray  # float32 [N], click probabilities

    @classmethod
    def ask(cls, generation: Generation, queries: Queries, exposures: pl.DataFrame) -> ModelAnswers:
        return cls(
            list_metrics.run(generation.served, queries),
            list_metrics.run(generation.retrieval, queries),
            generation.click_scores(exposures),
        )

    @classmethod
    def of_lists(cls, arrays: Mapping[str, np.ndarray], scores: np.ndarray) -> ModelAnswers:
        """Out of the arrays of ``evaluation_report.measure``, or of a report's ``lists.npz``."""
        served, retrieval = (
            Lists(arrays[f"{name}_ranks"], arrays[f"{name}_top"])
            for name in ("served", "retrieval")
        )
        return cls(served, retrieval, scores)


@dataclass(frozen=True)
class ChampionAnswers:
    """The release in force, asked the same."""

    release: int
    day: str  # ISO, of the release
    learnt_until: str  # ISO, the last day whose rows it has learnt
    answers: ModelAnswers


def gather(
    candidate: ModelAnswers,
    queries: Queries,
    exposures: pl.DataFrame,
    *,
    day: str,
    seed: int,
    champion: ChampionAnswers | None,
    recent: Scorer | None = None,
) -> dict[str, Any]:
    """Evidence of quality: the keys "champion", "popularity" (where ``recent`` is given), "slices",
    "ranker", "exposure", "freshness".

    Args:
        exposures: INTERACTION_FEATURES, N held-out rows, clicked or not.
        day: ISO, of the candidate's release.
        recent: recent popularity, to be beaten.

    Raises:
        ValueError: answers of other queries or exposures, or exposures of which none is clicked.
    """
    if len(candidate.served.ranks) != len(queries) or len(candidate.scores) != exposures.height:
        raise ValueError(
            f"{len(candidate.served.ranks)} ranks and {len(candidate.scores)} scores for "
            f"{len(queries)} queries and "
            f"{exposures.height} exposures: the answers are of others; materialise "
            "evaluation/offline again"
        )
    whole, users = queries.overall, queries.users
    popular = list_metrics.run(SameForAll("popularity", queries.clicks), queries)
    clicked = exposures[c.CLICK].to_numpy()
    found: dict[str, Any] = {
        "queries": int(whole.sum()),
        "champion": against_champion(candidate, champion, queries, exposures, seed)
        if champion
        else None,
        "slices": {
            "cold_users": _slice(candidate, queries, "cold_users", "recall@100", popular),
            "new_items": _slice(candidate, queries, "new_items", "recall@50", None),
        },
        "ranker": _ranker(clicked, candidate.scores),
        "exposure": {
            "concentration": concentration(candidate.served.top[whole], queries.items),
            "popularity_concentration": concentration(popular.top[whole], queries.items),
            "coverage@10": float(
                len(np.unique(_shown(candidate.served.top[whole]))) / queries.items
            ),
            "possible_coverage": min(1.0, list_metrics.SHOWN * int(whole.sum()) / queries.items),
            "items": queries.items,
        },
        "freshness": {"day": day, "champion_day": champion.day if champion else None},
    }
    if recent is not None:
        asked = list_metrics.run(recent, queries)
        found["popularity"] = list_metrics.paired_difference(
            candidate.served.ranks[whole], asked.ranks[whole], users[whole], seed=seed
        )
    return found


def _ranker(clicked: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """``evaluation.ranking_metrics``, "calibration_noise", and "clicks_alone": True where there is
    no unclicked row to judge by.
    """
    alone = ranker_metrics.clicks_alone(clicked)
    noise = None if alone else calibration_noise(ranker_metrics.reliability(clicked, scores))
    return {
        **ranker_metrics.ranking_metrics(clicked, scores),
        "calibration_noise": noise,
        "clicks_alone": alone,
    }


def against_champion(
    candidate: ModelAnswers,
    champion: ChampionAnswers,
    queries: Queries,
    exposures: pl.DataFrame,
    seed: int,
) -> dict[str, Any]:
    """Paired differences candidate − champion, each {"value", "low", "high", "champion": its own
    figure}.

    On the rows of days that the champion has not learnt: a fine-tune has seen most of its day, and
    would win by memory.
    """
    end = day_bounds(champion.learnt_until)[1]
    asked = queries.overall & (queries.frame[c.TIMESTAMP].to_numpy() >= end)
    rows = exposures[c.TIMESTAMP].to_numpy() >= end
    if asked.sum() < UNLEARNT_QUERIES:
        asked, rows = queries.overall, np.ones(exposures.height, bool)
    users = queries.users[asked]
    found: dict[str, Any] = {
        "release": champion.release,
        "queries": int(asked.sum()),
        "rows": int(rows.sum()),
        "judged_on": _days(queries.frame.filter(pl.Series(asked))),
    }
    for stage, metric in (("served", "ndcg@10"), ("retrieval", "recall@100")):
        of_candidate, of_champion = (
            getattr(answers, stage).ranks[asked] for answers in (candidate, champion.answers)
        )
        found[f"{stage} {metric}"] = {
            **list_metrics.paired_difference(of_candidate, of_champion, users, metric, seed),
            "champion": list_metrics.list_metrics(of_champion, users, seed, resamples=1)[metric][
                "value"
            ],
        }
    exposed = exposures.filter(pl.Series(rows))
    # visitors without a name are another one each time
    visitor = exposed.select(
        pl.when(pl.col(c.USER_ID) == c.MISSING)
        .then(pl.format("-1 {}", c.EVENT_ID))
        .otherwise(c.USER_ID)
    ).to_series()
    clicked = exposed[c.CLICK].to_numpy()
    if ranker_metrics.clicks_alone(clicked):
        return {**found, "auc": None}
    found["auc"] = {
        **auc_difference(
            clicked, candidate.scores[rows], champion.answers.scores[rows], visitor.to_numpy()
        ),
        "champion": ranker_metrics.auc(clicked, champion.answers.scores[rows]),
    }
    return found


def _days(frame: pl.DataFrame) -> str:
    days = (frame[c.TIMESTAMP].unique() // SECONDS_PER_DAY * SECONDS_PER_DAY).unique().sort()
    return ", ".join(pl.from_epoch(days, time_unit="s").dt.strftime("%Y-%m-%d").to_list())


def _slice(
    candidate: ModelAnswers, queries: Queries, name: str, metric: str, popular: Lists | None
) -> dict[str, Any]:
    """{"queries", "value", "other"}: the slice's served recall, and popularity's or (popular None)
    what chance would give.
    """
    inside = queries.slices.get(name, np.zeros(len(queries), bool))
    if not inside.any():
        return {"queries": 0}
    users = queries.users[inside]

    def recall(ranks: np.ndarray) -> float:
        return list_metrics.list_metrics(ranks[inside], users, resamples=1)[metric]["value"]

    k = int(metric.split("@")[1])
    other = (
        recall(popular.ranks)
        if popular
        else list_metrics.random_recall(queries, np.flatnonzero(inside), k)
    )
    return {"queries": int(inside.sum()), "value": recall(candidate.served.ranks), "other": other}


def calibration_noise(reliability: Sequence[Mapping[str, float]]) -> float:
    """Calibration error that a perfect model of the same ``evaluation.reliability`` table is
    expected to show by chance: the mean absolute deviation of a binomial share, sqrt(2 / π · p (1 −
    p) / n), weighted by rows.
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
    """Share of all places that go to the most shown items: a hundredth of the catalogue, at least
    as many as a list has.

    top: int [Q, SHOWN], catalogue rows, -1 where a list ends earlier.
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
) -> dict[str, float]:
    """{"query_tower", "ranker"}: ms of one call, the median, on rows as they are while serving."""
    rows = exposures[np.arange(latency.RANKER_ROWS) % exposures.height]
    return {
        "query_tower": latency.median_ms(
            query_tower, generation.query_inputs(queries.frame[: latency.QUERY_ROWS])
        ),
        "ranker": latency.median_ms(ranker, generation.row_inputs(rows)),
    }


def input_drift(
    training: Sequence[Artifact], held_out: Sequence[Artifact], *, first_day: str
) -> dict[str, float]:
    """Feature → Jensen-Shannon divergence of the held-out days from the training days
    (``features/interactions``), bits.

    Features with fewer than drift.MINIMUM_ROWS rows on either side are left out. first_day: the
    calendar's, ISO, on which features that look back are empty.
    """
    before, now = _profile(training), _profile(held_out)
    found = {}
    for (feature,), part in now.group_by("feature", maintain_order=True):
        base = before.filter(
            (pl.col("feature") == feature)
            & ~((pl.col("day") == first_day) & (feature in drift.LOOK_BACK))
        )
        if min(part["rows"].sum(), base["rows"].sum()) >= drift.MINIMUM_ROWS:
            found[str(feature)] = drift.divergence(part, base)
    return found


def _profile(days: Sequence[Artifact]) -> pl.DataFrame:
    def of(day: Artifact) -> pl.DataFrame:
        # an artifact of before there were profiles has its rows
        if profiles.PROFILE_FILE in day.manifest["files"]:
            return pl.read_parquet(day.path(profiles.PROFILE_FILE))
        return profiles.profile(
            pl.read_parquet(day.path("features.parquet")), profiles.DAY_FEATURES
        )

    return pl.concat([of(day).with_columns(day=pl.lit(str(day.partition))) for day in days])
