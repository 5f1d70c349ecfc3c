"""Compare what the models read for served answers with what training computes for the same rows.

A shown item that was not clicked is an impression of the day at the moment of its answer, and so a
row of ``features/interactions``. The transforms of the release that answered turn this row into the
ranker's inputs, as training does. Both must be equal up to rounding. Causes of a difference are an
online store that is behind, an item table of another day, attributes that changed since, and a
fault in one of the two paths.

A clicked item has its row at the moment of the click, with other features, so it is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import polars as pl
from scipy.stats import binomtest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.drift.answers import RELEASE
from recsys_assets.lib.features.batch_transform import BatchTransform
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.landing.served_answers import ANSWER_ID, FEATURES
from recsys_assets.lib.raw.served import CLICKED, FEATURES_FILE, POSITION, SERVED_FILE
from recsys_assets.lib.release import releases
from recsys_assets.release_files import TRANSFORMS, model_file

SKEW_FILE, SKEW_FIGURE = "skew.parquet", "figures/skew.md"
#: Answers below which no feature is judged.
LEAST_ANSWERS = 20
#: Floats of both paths differ by rounding alone up to here, absolute or as a share.
ROUNDING = 1e-5
#: A visitor without attributes has no id in serving. No model reads ids of visitors by default.
_JUDGED = tuple(name for name in (*c.RANKER_CATEGORICAL, *c.RANKER_CONTINUOUS) if name != c.USER_ID)
_SCHEMA = {
    "feature": pl.String,
    "answers": pl.Int64,
    "differing": pl.Int64,
    "share": pl.Float64,
    "low": pl.Float64,
    "mean_difference": pl.Float64,
    "example": pl.String,
}


class SkewFigures(TypedDict):
    """Holds what was compared on a day."""

    answers: int
    rows: int
    logged: int  # answers with features in the log
    skewed: list[str]
    shares: dict[str, float]  # feature → share of answers in which it differs
    reason: str | None  # why nothing is judged; None: it is


def logged_features(interactions: Artifact) -> dict[str, Any]:
    """Return answer id → fields of ``served_log.LoggedFeatures``.

    interactions: ``raw/interactions`` of a day.
    """
    if FEATURES_FILE not in interactions.manifest["files"]:
        return {}
    stored = pl.read_parquet(interactions.path(FEATURES_FILE)).select(ANSWER_ID, FEATURES)
    return {answer: json.loads(features) for answer, features in stored.iter_rows()}


def logged_rows(interactions: Artifact, logged: Mapping[str, Any]) -> pl.DataFrame:
    """Return the served features of a day's impressions, one row per shown item without a click.

    Args:
        interactions: ``raw/interactions`` of the day.
        logged: of ``logged_features``.

    Returns:
        {EVENT_ID, TIMESTAMP of the features, RELEASE, ANSWER_ID, and _JUDGED as Float64}.
    """
    schema = {
        **dict.fromkeys((c.EVENT_ID, ANSWER_ID), pl.String),
        **dict.fromkeys((c.TIMESTAMP, RELEASE), pl.Int64),
        **dict.fromkeys(_JUDGED, pl.Float64),
    }
    if not logged:
        return pl.DataFrame(schema=schema)
    whole = (
        ~pl.col(CLICKED)
        & pl.col(RELEASE).is_not_null()
        & (pl.col("reasons").list.len().fill_null(0) == 0)
    )
    shown = (
        pl.scan_parquet(interactions.path(SERVED_FILE))
        .filter(pl.col(ANSWER_ID).is_in([*logged]) & whole)
        .select(c.EVENT_ID, RELEASE, ANSWER_ID, POSITION)
        .collect()
    )
    rows = []
    for event, release, answer, position in shown.iter_rows():
        read = logged[answer]
        values = {
            **read["visitor"],
            **{name: of_items[position - 1] for name, of_items in read["items"].items()},
        }
        rows.append(
            {
                c.EVENT_ID: event,
                ANSWER_ID: answer,
                c.TIMESTAMP: read["at"],
                RELEASE: release,
                **{name: values.get(name) for name in _JUDGED},
            }
        )
    return pl.DataFrame(rows, schema=schema)


def transforms_of(opened: Iterable[Artifact]) -> dict[int, Mapping[str, Any]]:
    """Return release → content of its transforms.json; releases without one are left out."""
    name = model_file("nvt_user_transform", TRANSFORMS)
    return {
        releases.read_release(one).number: json.loads(one.path(name).read_text())
        for one in opened
        if name in one.manifest["files"]
    }


def compared(
    logged: pl.DataFrame, features: pl.DataFrame, transforms: Mapping[int, Mapping[str, Any]]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the served and the recomputed inputs of the rows that both have.

    Args:
        logged: of ``logged_rows``.
        features: INTERACTION_FEATURES of the day.
        transforms: of ``transforms_of``; rows of other releases are left out.

    Returns:
        Two frames {ANSWER_ID, _JUDGED as Float64} of the same N rows in the same order.
    """
    served, again = [logged.clear()], [logged.clear().select(*_JUDGED)]
    for number, content in transforms.items():
        own = logged.filter(pl.col(RELEASE) == number)
        both = own.select(c.EVENT_ID, c.TIMESTAMP).join(
            features, on=[c.EVENT_ID, c.TIMESTAMP], how="inner", maintain_order="left"
        )
        served.append(
            own.join(both.select(c.EVENT_ID), on=c.EVENT_ID, how="semi", maintain_order="left")
        )
        again.append(
            BatchTransform(content).transform_frame(both).select(pl.col(*_JUDGED).cast(pl.Float64))
        )
    rows = pl.concat(served)
    return rows.select(ANSWER_ID, *_JUDGED), pl.concat(again).insert_column(0, rows[ANSWER_ID])


def differences(served: pl.DataFrame, again: pl.DataFrame) -> pl.DataFrame:
    """Return one row per feature, the most differing one first; see _SCHEMA.

    An answer differs in a feature if one of its rows does. ``low`` is the lower bound of the exact
    95 % interval (Clopper, Pearson 1934) of the share of such answers.

    served, again: of ``compared``.
    """
    answers = served[ANSWER_ID]
    count = answers.n_unique()
    rows = []
    for name in _JUDGED:
        mine, other = served[name].to_numpy(), again[name].to_numpy()
        gap = np.abs(mine - other)
        # a value that is missing on one side alone differs
        wrong = ~(gap <= ROUNDING * np.maximum(1.0, np.abs(other))) & ~(
            np.isnan(mine) & np.isnan(other)
        )
        differing = answers.filter(pl.Series(wrong)).n_unique()
        first, known = int(np.argmax(wrong)), gap[wrong & ~np.isnan(gap)]
        rows.append(
            {
                "feature": name,
                "answers": count,
                "differing": differing,
                "share": differing / count,
                "low": float(binomtest(differing, count).proportion_ci().low),
                "mean_difference": float(known.mean()) if len(known) else 0.0,
                "example": f"{answers[first]}: {mine[first]:.6g}, recomputed {other[first]:.6g}"
                if differing
                else "",
            }
        )
    return pl.DataFrame(rows, schema=_SCHEMA).sort("share", descending=True, maintain_order=True)


def write_skew(
    interactions: Artifact,
    features: Artifact,
    opened: Sequence[Artifact],
    tolerance: float,
    target: Path,
) -> SkewFigures:
    """Write the comparison of a day.

    Args:
        interactions: ``raw/interactions`` of the day.
        features: ``features/interactions`` of the day.
        opened: the releases that answered.
        tolerance: share of answers that may differ in a feature.
        target: folder of SKEW_FILE and a table.
    """
    logged = logged_features(interactions)
    served, again = compared(
        logged_rows(interactions, logged),
        pl.read_parquet(features.path("features.parquet")),
        transforms_of(opened),
    )
    answers = served[ANSWER_ID].n_unique()
    table = differences(served, again) if answers else pl.DataFrame(schema=_SCHEMA)
    table.write_parquet(target / SKEW_FILE)
    figure = target / SKEW_FIGURE
    figure.parent.mkdir(exist_ok=True)
    figure.write_text(markdown_table(table) if answers else "No answer was compared.")
    judged = answers >= LEAST_ANSWERS
    skewed = table.filter(pl.col("low") > tolerance)["feature"].to_list() if judged else []
    return {
        "answers": answers,
        "rows": served.height,
        "logged": len(logged),
        "skewed": skewed,
        "shares": dict(table.select("feature", "share").rows()),
        "reason": None if judged else _why_not(len(logged), answers),
    }


def _why_not(logged: int, answers: int) -> str:
    """Return why nothing is judged."""
    if not logged:
        return (
            "no answer of the day was logged with features; RECSYS_SERVED_LOG, "
            "RECSYS_SERVED_FEATURES_SHARE and the fused model decide"
        )
    return (
        f"{answers} of {logged} answers with features can be compared, {LEAST_ANSWERS} are needed; "
        "those of known visitors whose items became impressions (RECSYS_SERVED_IMPRESSIONS)"
    )
