"""Measure the answers of a day against the clicks on them, per release.

Of each answer, what counts is which of its items were clicked within the WINDOW after it. So only
answers whose window is over when the day ends are measured: events after midnight join no answer of
the day before. Degraded answers, and answers by popular items alone, say nothing about the models;
they are counted apart.

The log has only items that were shown, in the order of their scores. So the measures share the bias
of their position: an item at the top is looked at more, and its click is partly due to that. AUC
and nDCG of the log are therefore higher than those of the evaluation. They are compared with
themselves over time, in which the bias stays the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.lib.drift.arms import ArmFigures, arms_of, write_arms
from recsys_assets.lib.evaluation.ranker_metrics import calibration_error, one_class, reliability
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.landing.served_answers import ANSWER_ID, ARM, AT
from recsys_assets.lib.monitor.estimates import (
    PART,
    UNIT,
    Clustered,
    clustered_auc,
    clustered_ratio,
)
from recsys_assets.lib.monitor.rolling import Stratum
from recsys_assets.lib.raw.served import CLICKED, POSITION, SCORE, WINDOW

#: Measures of a stratum.
AUC, NDCG, CALIBRATION = "auc", "ndcg@10", "calibration"
MEASURES = (AUC, NDCG, CALIBRATION)
TOP = 10
RELEASE, LABEL = "release", "label"
VISITORS_FILE, RELEASES_FILE = "visitors.parquet", "releases.parquet"
RELEASES_FIGURE = "figures/releases.md"
_VISITORS = {RELEASE: pl.Int64, "measure": pl.String, UNIT: pl.String, PART: pl.Float64}
_RELEASES = {
    RELEASE: pl.Int64,
    "family": pl.Int64,
    "answers": pl.Int64,
    "rows": pl.Int64,
    "clicks": pl.Int64,
    "click_rate": pl.Float64,
    **{
        f"{measure}{suffix}": pl.Float64
        for measure in MEASURES
        for suffix in ("", "_low", "_high", "_weight")
    },
    "calibration_error": pl.Float64,
}


class ScoresOf(TypedDict):
    """Describes the scores of a release: its family, and whether scores are probabilities."""

    family: int
    probabilities: bool


class AnswersFigures(TypedDict):
    """Holds the counts of a day."""

    rows: int
    clicks: int
    answers: int
    open_answers: int
    degraded_answers: int
    families: list[int]
    releases: dict[str, dict[str, Any]]
    arms: NotRequired[dict[str, ArmFigures]]  # where a request named one


def measured(
    shown: pl.DataFrame, times: pl.DataFrame, end_of_day: int
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the labelled rows of a day, and how many answers are left out.

    Args:
        shown: ``raw/interactions`` SERVED_FILE, one row per shown item.
        times: {event_id, timestamp} of the day's events.
        end_of_day: unix seconds, excluded.

    Returns:
        {RELEASE, UNIT, ANSWER_ID, ARM, POSITION, SCORE, LABEL}, N rows, one per shown item. UNIT is
        the visitor; an unknown visitor's answers are units of their own.
    """
    answers = shown.select(ANSWER_ID, AT, RELEASE, "reasons").unique(ANSWER_ID)
    whole = pl.col(RELEASE).is_not_null() & (pl.col("reasons").list.len().fill_null(0) == 0)
    over = pl.col(AT) + WINDOW <= end_of_day
    left_out = {
        "open_answers": answers.filter(~over).height,
        "degraded_answers": answers.filter(over & ~whole).height,
    }
    rows = (
        shown.filter(over & whole)
        .join(times, on=c.EVENT_ID, how="left", maintain_order="left")
        .select(
            RELEASE,
            pl.when(pl.col(c.USER_ID) == c.MISSING)
            .then(pl.format("?{}", pl.col(ANSWER_ID)))
            .otherwise(c.USER_ID)
            .alias(UNIT),
            ANSWER_ID,
            ARM,
            POSITION,
            SCORE,
            (
                pl.col(CLICKED)
                & (pl.col(c.TIMESTAMP) - pl.col(AT)).is_between(0, WINDOW).fill_null(False)
            )
            .cast(pl.Int8)
            .alias(LABEL),
        )
    )
    return rows, left_out


def ndcg_of_answers(rows: pl.DataFrame) -> pl.DataFrame:
    """Return nDCG@10 of each answer with a click, in its served order; clicks are binary gains.

    Args:
        rows: of ``measured``.

    Returns:
        {ANSWER_ID, UNIT, NDCG}, one row per answer with a click.
    """
    codes = rows[ANSWER_ID].rank("dense").to_numpy().astype(np.int64) - 1
    labels, position = rows[LABEL].to_numpy(), rows[POSITION].to_numpy().astype(np.float64)
    gains = np.where(position <= TOP, labels / np.log2(1 + position), 0.0)
    clicks, gained = np.bincount(codes, labels), np.bincount(codes, gains)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, TOP + 2)))])
    best = ideal[np.minimum(clicks, TOP).astype(np.int64)]
    found = clicks > 0
    answers = (
        rows.select(ANSWER_ID, UNIT).unique(ANSWER_ID).sort(ANSWER_ID).filter(pl.Series(found))
    )
    return answers.with_columns(pl.Series(NDCG, gained[found] / best[found], pl.Float64))


def estimates_of(rows: pl.DataFrame, probabilities: bool) -> dict[str, tuple[Clustered, float]]:
    """Return the measures of one release on one day, each with its weight in a mean over days.

    - ``auc``: of the scores against the clicks; weight: pairs of a clicked and an unclicked row.
    - ``ndcg@10``: mean of ``ndcg_of_answers``; weight: answers with a click.
    - ``calibration``: clicks over predicted clicks, only of probabilities; weight: predicted
      clicks.

    A measure that the rows do not give, for example AUC without a click, is absent.

    Args:
        rows: of ``measured``, of one release.
        probabilities: the scores are probabilities of a click.
    """
    found: dict[str, tuple[Clustered, float]] = {}
    labels, scores = rows[LABEL].to_numpy(), rows[SCORE].to_numpy()
    clicks = int(labels.sum())
    if not one_class(labels):
        pairs = float(clicks) * (len(labels) - clicks)
        found[AUC] = clustered_auc(labels, scores, rows[UNIT]), pairs
    lists = ndcg_of_answers(rows)
    if lists.height:
        ones = np.ones(lists.height)
        found[NDCG] = clustered_ratio(lists[NDCG].to_numpy(), ones, lists[UNIT]), lists.height
    if probabilities and scores.sum() > 0:
        found[CALIBRATION] = clustered_ratio(labels, scores, rows[UNIT]), float(scores.sum())
    return found


def write_answers(
    shown: pl.DataFrame,
    times: pl.DataFrame,
    end_of_day: int,
    scored: Mapping[int, ScoresOf],
    target: Path,
) -> AnswersFigures:
    """Write the measures of a day's releases, and the part of each visitor in them.

    Args:
        shown: as for ``measured``.
        times: as for ``measured``.
        end_of_day: as for ``measured``.
        scored: release → what its scores are.
        target: folder of VISITORS_FILE, RELEASES_FILE and a table.
    """
    rows, left_out = measured(shown, times, end_of_day)
    table, parts = [], [pl.DataFrame(schema=_VISITORS)]
    for (number,), own in rows.sort(RELEASE, maintain_order=True).group_by(
        RELEASE, maintain_order=True
    ):
        release = int(str(number))
        found = estimates_of(own, scored[release]["probabilities"])
        table.append(_line(release, scored[release], own, found))
        parts += [
            one.parts.select(
                pl.lit(release, pl.Int64).alias(RELEASE), pl.lit(name).alias("measure"), UNIT, PART
            )
            for name, (one, _) in found.items()
        ]
    releases = pl.DataFrame(table, schema=_RELEASES)
    releases.write_parquet(target / RELEASES_FILE)
    pl.concat(parts).write_parquet(target / VISITORS_FILE)
    _write_table(releases, target / RELEASES_FIGURE)
    figures: AnswersFigures = {
        "rows": rows.height,
        "clicks": int(rows[LABEL].sum()),
        "answers": rows[ANSWER_ID].n_unique(),
        "open_answers": left_out["open_answers"],
        "degraded_answers": left_out["degraded_answers"],
        "families": list(dict.fromkeys(releases.sort(RELEASE)["family"].to_list())),
        "releases": {
            str(line[RELEASE]): {
                name: line[name]
                for name in ("rows", "clicks", "click_rate", *MEASURES)
                if line[name] is not None
            }
            for line in releases.iter_rows(named=True)
        },
    }
    if arms := arms_of(rows):
        write_arms(arms, target)
        figures["arms"] = arms
    return figures


def _line(
    release: int, scored: ScoresOf, rows: pl.DataFrame, found: Mapping[str, tuple[Clustered, float]]
) -> dict[str, Any]:
    line: dict[str, Any] = dict.fromkeys(_RELEASES)
    clicks = int(rows[LABEL].sum())
    line |= {
        RELEASE: release,
        "family": scored["family"],
        "answers": rows[ANSWER_ID].n_unique(),
        "rows": rows.height,
        "clicks": clicks,
        "click_rate": clicks / rows.height,
    }
    for name, (one, weight) in found.items():
        line |= {name: one.value, f"{name}_weight": weight}
        if (estimate := one.estimate()) is not None:
            line |= {f"{name}_low": estimate["low"], f"{name}_high": estimate["high"]}
    if scored["probabilities"]:
        labels, scores = rows[LABEL].to_numpy(), rows[SCORE].to_numpy()
        line["calibration_error"] = calibration_error(reliability(labels, scores))
    return line


def _write_table(releases: pl.DataFrame, path: Path) -> None:
    shown = releases.select(
        RELEASE,
        *("answers", "rows", "clicks", "click_rate"),
        *(
            pl.when(pl.col(f"{name}_low").is_not_null())
            .then(
                pl.format(
                    "{} [{}, {}]",
                    *(pl.col(f"{name}{end}").round(4) for end in ("", "_low", "_high")),
                )
            )
            .otherwise(pl.lit("too few"))
            .alias(name)
            for name in (AUC, NDCG)
        ),
        pl.when(pl.col(CALIBRATION).is_not_null())
        .then(pl.col(CALIBRATION).round(3).cast(pl.String))
        .otherwise(pl.lit("scores are no probabilities"))
        .alias("clicks / predicted"),
        "calibration_error",
    )
    path.parent.mkdir(exist_ok=True)
    path.write_text(markdown_table(shown) if shown.height else "No answer was measured.")


def read_strata(folder: Path, day: str) -> list[Stratum]:
    """Return the measures of a day as ``write_answers`` wrote them, one stratum per release."""
    parts = pl.read_parquet(folder / VISITORS_FILE)
    by_measure = {
        (int(str(release)), str(measure)): own.select(UNIT, PART)
        for (release, measure), own in parts.group_by(RELEASE, "measure")
    }
    return [
        Stratum(
            day,
            line[RELEASE],
            line["family"],
            line["rows"],
            line["clicks"],
            {
                name: (
                    Clustered(line[name], by_measure[line[RELEASE], name].sort(UNIT)),
                    line[f"{name}_weight"],
                )
                for name in MEASURES
                if line[name] is not None
            },
        )
        for line in pl.read_parquet(folder / RELEASES_FILE).iter_rows(named=True)
    ]
