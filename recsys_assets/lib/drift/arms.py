"""Compare the arms of a shop's own experiment by the clicks on their answers.

The shop assigns its visitors to arms and names the arm with each request; it is logged with the
answer. An arm's answers need not differ in the release: the experiment may be one of the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np
import polars as pl

from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.landing.served_answers import ANSWER_ID, ARM
from recsys_assets.lib.monitor.estimates import UNIT, Clustered, clustered_ratio, difference

ARMS_FIGURE = "figures/arms.md"
_LABEL = "label"


class ArmFigures(TypedDict):
    """Holds the figures of an arm on one day."""

    answers: int
    visitors: int
    clicks: int
    clicks_per_answer: Estimate | None  # None: a single visitor has no interval
    #: clicks_per_answer − that of the first arm by name; None of the first arm
    minus_first: Estimate | None


def arms_of(rows: pl.DataFrame) -> dict[str, ArmFigures]:
    """Return arm → its figures, by name; empty where no request named an arm.

    Intervals are of 95 %, by visitor.

    Args:
        rows: {ANSWER_ID, UNIT, ARM, label}, one row per shown item.
    """
    answers = (
        rows.filter(pl.col(ARM).is_not_null())
        .group_by(ARM, ANSWER_ID, UNIT)
        .agg(pl.col(_LABEL).sum().cast(pl.Float64))
        .sort(ARM, ANSWER_ID)
    )
    means: dict[str, Clustered] = {}
    found: dict[str, ArmFigures] = {}
    for (name,), own in answers.group_by(ARM, maintain_order=True):
        arm = str(name)
        means[arm] = clustered_ratio(own[_LABEL].to_numpy(), np.ones(own.height), own[UNIT])
        first = means[next(iter(means))]
        found[arm] = {
            "answers": own.height,
            "visitors": means[arm].units,
            "clicks": int(own[_LABEL].sum()),
            "clicks_per_answer": means[arm].estimate(),
            "minus_first": None if len(means) == 1 else difference(means[arm], first).estimate(),
        }
    return found


def write_arms(arms: Mapping[str, ArmFigures], target: Path) -> None:
    """Write the table of the arms; target: the artifact's folder."""
    path = target / ARMS_FIGURE
    path.parent.mkdir(exist_ok=True)
    table = pl.DataFrame(
        {
            "arm": [*arms],
            **{name: [one[name] for one in arms.values()] for name in ("answers", "visitors")},
            "clicks": [one["clicks"] for one in arms.values()],
            "clicks per answer": [_told(one["clicks_per_answer"]) for one in arms.values()],
            f"minus {next(iter(arms))}": [_told(one["minus_first"]) for one in arms.values()],
        }
    )
    path.write_text(markdown_table(table))


def _told(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate['value']:.4f} [{estimate['low']:.4f}, {estimate['high']:.4f}]"
