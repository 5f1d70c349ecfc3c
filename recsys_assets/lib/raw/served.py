"""Turn the log of answers of a day into impressions, and join the day's events to the answers.

An event that names its request (``request_id``) belongs to the answer of that request that showed
its item. Any other event belongs to the visitor's latest answer with its item, if that was given in
the WINDOW before it. A shown item without an event becomes an impression: an exposure counts once,
clicked or not. A dismissal is no such event: a dismissed item was shown and not clicked.

Only the day's own answers are joined. So an event after midnight does not change the impressions of
the day before, which may have been read already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from recsys_assets import columns as c
from recsys_assets.lib.landing.served_answers import (
    ANSWER_ID,
    AT,
    FEATURES,
    ITEM_IDS,
    PROPENSITIES,
    SCORES,
)
from recsys_assets.lib.quality.served_day import ServedDay

#: Seconds within which an event without a request id belongs to an answer that showed its item.
WINDOW = 3_600
SERVED_FILE, FEATURES_FILE = "served.parquet", "served_features.parquet"
POSITION, SCORE, PROPENSITY, CLICKED = "position", "score", "propensity", "clicked"
#: Which answers become impressions; ``Settings.served_impressions`` explains them.
Rule = Literal["own", "both", "none"]
_ACT, _NAMED = "act", "named"


@dataclass(frozen=True)
class Served:
    """Holds what the log of answers adds to a day.

    Attributes:
        impressions: ARRIVED_INTERACTIONS, one row per shown item without an event.
        shown: one row per shown item: EVENT_ID of its row among the day's interactions (null: it
            has none), the answer's columns, POSITION (1: best), SCORE, PROPENSITY (null: it was
            not drawn by sampling), and CLICKED (it has an event).
        features: {answer_id, features: JSON of ``served_log.LoggedFeatures``}, one row per answer
            that has them.
        figures: for the metrics.
    """

    impressions: pl.DataFrame
    shown: pl.DataFrame
    features: pl.DataFrame
    figures: dict[str, Any]


def served_impressions(
    day: ServedDay,
    events: pl.DataFrame,
    requests: pl.DataFrame,
    items: list[str] | None,
    rule: Rule,
) -> Served:
    """Return the impressions of a day's answers, and what was shown.

    Args:
        day: the answers.
        events: ARRIVED_INTERACTIONS of the day's landed files.
        requests: {event_id, request_id} of the events that name their request.
        items: ids of the catalogue; other items make no impression. None: all do.
        rule: which answers become impressions.
    """
    shown = _shown(day.answers.drop(FEATURES))
    acts = events.filter(pl.col(c.EVENT_TYPE).is_in(c.INTEREST_EVENTS)).join(
        requests.rename({c.REQUEST_ID: _NAMED}), on=c.EVENT_ID, how="left", maintain_order="left"
    )
    joined = _joined(acts, shown)
    # the exposure of a clicked item is its View; events that follow a click are none
    firsts = joined.sort(pl.col(c.EVENT_TYPE) != c.VIEW, c.TIMESTAMP, _ACT).unique(
        [ANSWER_ID, POSITION], keep="first"
    )
    shown = shown.join(
        firsts.select(ANSWER_ID, POSITION, _ACT),
        on=[ANSWER_ID, POSITION],
        how="left",
        maintain_order="left",
    ).with_columns(pl.col(_ACT).is_not_null().alias(CLICKED))
    own = events.filter(pl.col(c.EVENT_TYPE) == c.IMPRESSION)
    made = _unclicked(shown, own, items, rule)
    ids = made.select(ANSWER_ID, POSITION, c.EVENT_ID)
    shown = (
        shown.join(ids, on=[ANSWER_ID, POSITION], how="left", maintain_order="left")
        .with_columns(pl.coalesce(_ACT, c.EVENT_ID).alias(c.EVENT_ID))
        .drop(_ACT)
    )
    views = acts.filter(pl.col(c.EVENT_TYPE) == c.VIEW).height
    clicks = joined.filter(pl.col(c.EVENT_TYPE) == c.VIEW).height
    return Served(
        made.select(*c.ARRIVED_INTERACTIONS),
        shown.select(c.EVENT_ID, pl.exclude(c.EVENT_ID)),
        day.answers.select(ANSWER_ID, FEATURES).drop_nulls(),
        {
            "answers": day.answers.height,
            "with_features": day.answers.height - day.answers[FEATURES].null_count(),
            "shown": shown.height,
            "impressions": made.height,
            "own_impressions": own.height,
            "clicks_joined": clicks,
            "clicks_joined_by_request": joined.filter(
                (pl.col(c.EVENT_TYPE) == c.VIEW) & pl.col(_NAMED).is_not_null()
            ).height,
            "share_joined": clicks / views if views else None,
        },
    )


def _shown(answers: pl.DataFrame) -> pl.DataFrame:
    """Return one row per shown item, by (AT, ANSWER_ID, POSITION)."""
    none = pl.col(SCORES).list.eval(pl.element() * 0)
    return (
        answers.with_columns(pl.coalesce(PROPENSITIES, none).alias(PROPENSITIES))
        .explode(ITEM_IDS, SCORES, PROPENSITIES)
        .rename({ITEM_IDS: c.ITEM_ID, SCORES: SCORE, PROPENSITIES: PROPENSITY})
        .drop_nulls(c.ITEM_ID)  # an answer without items
        .with_columns(
            pl.int_range(1, pl.len() + 1).over(ANSWER_ID).cast(pl.Int16).alias(POSITION),
            pl.when(pl.col(PROPENSITY) > 0).then(PROPENSITY).alias(PROPENSITY),
        )
        .sort(AT, ANSWER_ID, POSITION)
    )


def _joined(acts: pl.DataFrame, shown: pl.DataFrame) -> pl.DataFrame:
    """Return the events that belong to an answer.

    Returns:
        {_ACT, EVENT_TYPE, TIMESTAMP, _NAMED, ANSWER_ID, POSITION}, one row per event.
    """
    acts = acts.rename({c.EVENT_ID: _ACT}).select(
        _ACT, c.USER_ID, c.ITEM_ID, c.EVENT_TYPE, c.TIMESTAMP, _NAMED
    )
    kept = (_ACT, c.EVENT_TYPE, c.TIMESTAMP, _NAMED, ANSWER_ID, POSITION)
    answers = shown.select(c.REQUEST_ID, c.USER_ID, c.ITEM_ID, AT, ANSWER_ID, POSITION)
    by_request = (
        acts.filter(pl.col(_NAMED).is_not_null())
        .join(
            answers.rename({c.REQUEST_ID: _NAMED}),
            on=[_NAMED, c.ITEM_ID],
            how="inner",
            suffix="_shown",
        )
        # a call may answer several visitors, and a visitor may have signed in since
        .sort(pl.col(c.USER_ID) == pl.col(f"{c.USER_ID}_shown"), AT, ANSWER_ID)
        .unique(_ACT, keep="last")
    )
    unnamed = acts.filter(pl.col(_NAMED).is_null() & (pl.col(c.USER_ID) != c.MISSING))
    by_visitor = _of_latest_answer(unnamed, answers)
    return pl.concat([by_request.select(*kept), by_visitor.select(*kept)])


def _of_latest_answer(events: pl.DataFrame, shown: pl.DataFrame) -> pl.DataFrame:
    """Return the events whose visitor was shown the item in the WINDOW before.

    Args:
        events: with USER_ID, ITEM_ID and TIMESTAMP.
        shown: one row per shown item.

    Returns:
        the events with AT, ANSWER_ID and POSITION of the visitor's latest answer with the item.
    """
    return (
        events.sort(c.TIMESTAMP)
        .join_asof(
            shown.select(c.USER_ID, c.ITEM_ID, AT, ANSWER_ID, POSITION).sort(AT, ANSWER_ID),
            left_on=c.TIMESTAMP,
            right_on=AT,
            by=[c.USER_ID, c.ITEM_ID],
            strategy="backward",
            tolerance=WINDOW,
            check_sortedness=False,
        )
        .drop_nulls(ANSWER_ID)
    )


def _unclicked(
    shown: pl.DataFrame, own: pl.DataFrame, items: list[str] | None, rule: Rule
) -> pl.DataFrame:
    """Return the shown items that become impressions, with ARRIVED_INTERACTIONS of each.

    Unknown visitors are left out, because the raw tables have none.
    """
    open_ = shown.filter(~pl.col(CLICKED) & (pl.col(c.USER_ID) != c.MISSING))
    if items is not None:
        open_ = open_.filter(pl.col(c.ITEM_ID).is_in(items))
    if rule == "none" or (rule == "own" and own.height):
        open_ = open_.clear()
    elif own.height:
        doubles = _of_latest_answer(own.select(c.USER_ID, c.ITEM_ID, c.TIMESTAMP), open_)
        open_ = open_.join(doubles, on=[ANSWER_ID, POSITION], how="anti", maintain_order="left")
    return open_.with_columns(
        # the order of the ids is that of the positions, as every stage orders a second's events
        pl.format("served-{}-{}", ANSWER_ID, pl.col(POSITION).cast(pl.String).str.zfill(3)).alias(
            c.EVENT_ID
        ),
        pl.col(AT).alias(c.TIMESTAMP),
        pl.lit(c.IMPRESSION).alias(c.EVENT_TYPE),
        pl.lit(0, pl.Int8).alias(c.CLICK),
        pl.max_horizontal(c.ARRIVED, AT).alias(c.ARRIVED),
    )
