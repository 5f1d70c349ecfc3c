"""Measure how often visitors buy the same again, and choose the seen rule by it.

Counted are purchases; in a log without purchases, clicks. One *act* is one visitor, item and local
day, so that a second look within a day is no repeat. An act is a repeat if the same visitor had the
item on one of the ``days`` days before. Its expected share is what popularity alone would give: the
summed popularity of the items that the visitor had on those days.

Acts of the first days have too little log before them to be repeats. So only those count that have
``days`` days of log before them; in a shorter log, those of its second half.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.columns import (
    EVENT_TYPE,
    ITEM_ID,
    MISSING,
    PURCHASE,
    TIMESTAMP,
    USER_ID,
    VIEW,
    EventType,
)
from recsys_assets.files import write_json
from recsys_assets.lib.features.seen import ACTS, DEFAULT_RULE, NEVER, SeenRule
from recsys_assets.lib.landing.local_days import local_day
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.release_files import SEEN_RULE
from recsys_assets.settings import DEFAULT_SEEN_DAYS

#: Excess of repeats over those by popularity from which they matter. A click is often a second look
#: at something that will not be wanted again, so more are needed than of purchases.
WORTH: dict[EventType, float] = {PURCHASE: 0.10, VIEW: 0.20}
#: Visitors with acts that count, below which nothing is decided: the interval is taken over them.
LEAST_VISITORS = 30
_Z = 1.96  # of a 95 % interval


class Repeats(TypedDict):
    """Holds how often visitors had the same item again."""

    counted: EventType
    acts: int
    visitors: int
    rate: float | None  # null without an act
    rate_low: float | None  # bounds of 95 % intervals over visitors
    rate_high: float | None
    expected: float | None
    excess_low: float | None  # lower bound of rate - expected


def measure_repeats(log: pl.DataFrame, *, zone: str, days: int = DEFAULT_SEEN_DAYS) -> Repeats:
    """Count repeats in a log.

    Args:
        log: RAW_INTERACTIONS of the days that may be learned.
        zone: time zone of the shop.
        days: local days before an act that are searched for the same item.

    Returns:
        The share of repeats, what popularity would give, and their intervals over visitors.
    """
    counted = PURCHASE if log[EVENT_TYPE].eq(PURCHASE).any() else VIEW
    acts = (
        log.filter(pl.col(EVENT_TYPE) == counted, pl.col(USER_ID) != MISSING)
        .select(USER_ID, ITEM_ID, day=local_day(pl.col(TIMESTAMP), zone))
        .unique()
    )
    if acts.is_empty():
        return _shares(counted, np.zeros((0, 3)))
    first, last = int(acts["day"].min()), int(acts["day"].max())  # type: ignore[arg-type]
    begin = min(first + days, (first + last + 1) // 2)
    popularity = acts.group_by(ITEM_ID).agg(chance=pl.len() / acts.height)
    known = acts.join(popularity, on=ITEM_ID)
    visits = acts.filter(pl.col("day") >= begin).group_by(USER_ID, "day").agg(acts=pl.len())
    # items that the visitor had on the days before each visit, each once
    had = (
        visits.select(USER_ID, now="day")
        .join(known, on=USER_ID)
        .filter(pl.col("day") < pl.col("now"), pl.col("day") >= pl.col("now") - days)
        .unique([USER_ID, "now", ITEM_ID])
    )
    expected = had.group_by(USER_ID, day="now").agg(chance=pl.col("chance").sum())
    repeats = (
        had.select(USER_ID, ITEM_ID, day="now")
        .join(acts, on=[USER_ID, ITEM_ID, "day"], how="semi")
        .group_by(USER_ID, "day")
        .agg(repeats=pl.len())
    )
    per_visitor = (
        visits.join(expected, on=[USER_ID, "day"], how="left")
        .join(repeats, on=[USER_ID, "day"], how="left")
        .fill_null(0)
        .group_by(USER_ID)
        .agg(
            pl.col("acts").sum(),
            pl.col("repeats").sum(),
            expected=(pl.col("acts") * pl.col("chance")).sum(),
        )
        .sort(USER_ID)
    )
    return _shares(
        counted, per_visitor.select("acts", "repeats", "expected").to_numpy().astype(np.float64)
    )


def _shares(counted: EventType, visitors: np.ndarray) -> Repeats:
    """Return shares and intervals of float64 [V, 3]: acts, repeats, expected repeats."""
    acts, repeats, expected = visitors.T
    total = acts.sum()
    if not total:
        return {
            "counted": counted,
            "acts": 0,
            "visitors": 0,
            "rate": None,
            "rate_low": None,
            "rate_high": None,
            "expected": None,
            "excess_low": None,
        }

    def share(values: np.ndarray) -> tuple[float, float]:
        """Return a ratio of sums and its 95 % margin, by linearisation over visitors."""
        ratio = values.sum() / total
        return float(ratio), float(_Z * np.sqrt(((values - ratio * acts) ** 2).sum()) / total)

    (rate, margin), (excess, excess_margin) = share(repeats), share(repeats - expected)
    return {
        "counted": counted,
        "acts": int(total),
        "visitors": len(visitors),
        "rate": rate,
        "rate_low": max(0.0, rate - margin),
        "rate_high": min(1.0, rate + margin),
        "expected": float(expected.sum() / total),
        "excess_low": excess - excess_margin,
    }


def choose_rule(
    repeats: Repeats, events: Sequence[EventType] | None, days: int | Literal["auto"]
) -> tuple[SeenRule, str]:
    """Return the seen rule and the reason for it.

    Args:
        repeats: of the log.
        events: of the setting ``seen_events``; None: auto.
        days: of the setting ``seen_days``.
    """
    chosen = DEFAULT_RULE.days if days == "auto" else days
    if not chosen:
        return NEVER, "RECSYS_SEEN_DAYS is 0"
    if events is not None:
        ordered = tuple(event for event in ACTS if event in events)
        return SeenRule(ordered, chosen), f"RECSYS_SEEN_EVENTS is {','.join(ordered)}"
    hidden = SeenRule(DEFAULT_RULE.events, chosen)
    what = "purchases" if repeats["counted"] == PURCHASE else "clicks"
    if (
        repeats["rate"] is None
        or repeats["expected"] is None
        or repeats["excess_low"] is None
        or repeats["visitors"] < LEAST_VISITORS
    ):
        return hidden, (
            f"too few to judge: {repeats['acts']} {what} of {repeats['visitors']} visitors, of "
            f"{LEAST_VISITORS} needed"
        )
    worth = WORTH[repeats["counted"]]
    figures = (
        f"{repeats['rate']:.1%} of the {what} were of an item that the visitor had on an earlier "
        f"day, {repeats['expected']:.1%} would be by popularity; the excess is at least "
        f"{repeats['excess_low']:.1%} (95 %)"
    )
    if repeats["excess_low"] > worth:
        return NEVER, f"{figures}, above {worth:.0%}: people have the same again, nothing is hidden"
    return hidden, f"{figures}, not above {worth:.0%}"


def write_seen_rule(
    interactions: Sequence[Artifact],
    target: Path,
    *,
    seen_events: Sequence[EventType] | None,
    seen_days: int | Literal["auto"],
    time_zone: str,
) -> dict[str, Any]:
    """Write seen.json and repeats.json; return the rule, its reason and the figures.

    Args:
        interactions: ``raw/interactions`` of the training days.
        target: folder of the files.
        seen_events: of the setting; None: auto.
        seen_days: of the setting.
        time_zone: of the shop.
    """
    log = (
        scan_interactions(interactions)
        .filter(pl.col(EVENT_TYPE).is_in([PURCHASE, VIEW]))
        .select(USER_ID, ITEM_ID, TIMESTAMP, EVENT_TYPE)
        .collect()
    )
    repeats = measure_repeats(
        log,
        zone=time_zone,
        days=DEFAULT_SEEN_DAYS if seen_days == "auto" else seen_days or DEFAULT_SEEN_DAYS,
    )
    rule, reason = choose_rule(repeats, seen_events, seen_days)
    write_json(target / SEEN_RULE, rule.as_json())
    found = {"rule": rule.text(), "reason": reason, **repeats}
    write_json(target / "repeats.json", found)
    return found
