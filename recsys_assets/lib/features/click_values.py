"""Compute what each click is worth: labels of training and evaluation, never features.

The value of a click is that of View, and those of the events by which the visitor goes on: events
of the same visitor and item from the click on, before the visitor's next click on that item, and
within WINDOW_SECONDS. Each event type counts once per click. A click of an unknown visitor has the
value of View alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.event_values import SETTING, EventValues
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.release_files import CLICK_VALUES

#: Time after a click in which an event adds to its value.
WINDOW_SECONDS = c.SECONDS_PER_DAY
_FACTOR, _CLICK = "price_factor", "click_id"
_KEYS = (c.EVENT_ID, c.USER_ID, c.ITEM_ID, c.TIMESTAMP)


class EventFigures(TypedDict):
    """Holds how often an event adds to the value of a click."""

    value: str  # as the setting has it
    events: int
    counted: int  # of these, those that add to a click


class ValueFigures(TypedDict):
    """Holds the figures of the values of clicks."""

    clicks: int
    mean_value: float | None  # None without a click
    events: dict[str, EventFigures]  # by event type


class NoPrice(ValueError):
    """Raised if values depend on prices and no item has one; names the remedy."""


def click_values(
    events: pl.LazyFrame, items: pl.DataFrame, values: EventValues
) -> tuple[pl.DataFrame, dict[str, EventFigures]]:
    """Return the value of each click of some days, and how often each event counts.

    Args:
        events: RAW_INTERACTIONS of days in a row. What lies after them is not known, so a click
            shortly before their end misses what follows.
        items: RAW_ITEMS.
        values: of the events.

    Returns:
        {event_id, value: Float32}, one row per View, ordered by event_id; and event type → figures.

    Raises:
        NoPrice: a value depends on the price, and no item of the catalogue has one.
    """
    factors = _price_factors(items, values)
    rows = events.filter(pl.col(c.EVENT_TYPE).is_in([*{c.VIEW, *values.of}])).select(
        *_KEYS, c.EVENT_TYPE
    )
    log = rows.collect().join(factors, on=c.ITEM_ID, how="left")
    # an item that the catalogue lacks has the median price
    log = log.with_columns(pl.col(_FACTOR).fill_null(1.0))
    amount = pl.lit(0.0)
    for event, value in values.of.items():
        worth = value.amount * pl.col(_FACTOR) if value.by_price else pl.lit(value.amount)
        amount = pl.when(pl.col(c.EVENT_TYPE) == event).then(worth).otherwise(amount)
    log = log.with_columns(amount.alias(c.VALUE)).sort(c.TIMESTAMP, c.EVENT_ID)
    clicks = log.filter(pl.col(c.EVENT_TYPE) == c.VIEW)
    added = _following(log, clicks)
    found = (
        pl.concat(
            [
                clicks.select(c.EVENT_ID, c.VALUE),
                added.select(pl.col(_CLICK).alias(c.EVENT_ID), c.VALUE),
            ]
        )
        .group_by(c.EVENT_ID)
        .agg(pl.col(c.VALUE).sum().cast(pl.Float32))
        .sort(c.EVENT_ID)
    )
    return found, _figures(log, added, values)


def _price_factors(items: pl.DataFrame, values: EventValues) -> pl.DataFrame:
    """Return {item_id, price_factor}: the price over the median price; 1 where it is unknown."""
    median = items[c.PRICE].median()
    if values.by_price and median is None:
        raise NoPrice(
            f"{SETTING} values {', '.join(values.by_price)} by price, and no item of the catalogue "
            "has a price: ingest a catalogue with prices, or give a number instead"
        )
    price = pl.col(c.PRICE) / pl.lit(median, pl.Float64)
    return items.select(c.ITEM_ID, price.fill_null(1.0).alias(_FACTOR))


def _following(log: pl.DataFrame, clicks: pl.DataFrame) -> pl.DataFrame:
    """Return the events that add to a click, with its event_id as click_id, by time.

    log, clicks: ordered by time.
    """
    owner = [c.USER_ID, c.ITEM_ID]
    known = pl.col(c.USER_ID) != c.MISSING
    return (
        log.filter(pl.col(c.EVENT_TYPE) != c.VIEW, known)
        .join_asof(
            clicks.filter(known).select(*owner, c.TIMESTAMP, pl.col(c.EVENT_ID).alias(_CLICK)),
            on=c.TIMESTAMP,
            by=owner,
            tolerance=WINDOW_SECONDS,
            check_sortedness=False,  # polars cannot check it within groups
        )
        .drop_nulls(_CLICK)
        .unique([_CLICK, c.EVENT_TYPE], keep="first", maintain_order=True)
    )


def _figures(
    log: pl.DataFrame, added: pl.DataFrame, values: EventValues
) -> dict[str, EventFigures]:
    every, counted = (
        dict(frame.group_by(c.EVENT_TYPE).len().iter_rows()) for frame in (log, added)
    )
    counted[c.VIEW] = every.get(c.VIEW, 0)
    return {
        event: {
            "value": value.text,
            "events": every.get(event, 0),
            "counted": counted.get(event, 0),
        }
        for event, value in values.of.items()
    }


def write_click_values(
    *,
    training: Sequence[Artifact],
    validation: Sequence[Artifact],
    items: Artifact,
    target: Path,
    event_values: str,
) -> ValueFigures:
    """Write the values of the clicks of a window; return their figures.

    The value of a training click has no event of the validation days.

    Args:
        training: ``raw/interactions`` of the training days.
        validation: ``raw/interactions`` of the validation days.
        items: ``raw/items``.
        target: folder of the files.
        event_values: the setting.

    Raises:
        NoPrice: as ``click_values``.
    """
    values = EventValues.parse(event_values)
    catalogue = pl.read_parquet(items.path("items.parquet"), columns=[c.ITEM_ID, c.PRICE])
    parts = [
        click_values(scan_interactions(days), catalogue, values)
        for days in (training, validation)
        if days
    ]
    found = pl.concat([frame for frame, _ in parts])
    found.write_parquet(target / CLICK_VALUES)
    return {
        "clicks": found.height,
        "mean_value": float(found[c.VALUE].mean()) if found.height else None,  # type: ignore[arg-type]
        "events": _summed([of_part for _, of_part in parts]),
    }


def _summed(parts: Sequence[Mapping[str, EventFigures]]) -> dict[str, EventFigures]:
    return {
        event: {
            "value": parts[0][event]["value"],
            "events": sum(part[event]["events"] for part in parts),
            "counted": sum(part[event]["counted"] for part in parts),
        }
        for event in parts[0]
    }


def read_click_values(artifact: Artifact) -> pl.DataFrame:
    """Return {event_id, value: Float32} of ``write_click_values``."""
    return pl.read_parquet(artifact.path(CLICK_VALUES))


def with_values(rows: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """Add the column VALUE to rows: of clicks their values, of all others 1.

    Args:
        rows: with event_id and click.
        values: of ``click_values``.

    Raises:
        ValueError: a click has no value; names an example and the remedy.
    """
    joined = rows.join(values, on=c.EVENT_ID, how="left", maintain_order="left")
    clicked = pl.col(c.CLICK) == 1
    lacking = joined.filter(clicked, pl.col(c.VALUE).is_null())
    if lacking.height:
        raise ValueError(
            f"{lacking.height} clicks have no value, for example {lacking[c.EVENT_ID][0]!r}: the "
            "features were made from other events; materialise features/interactions again"
        )
    value = pl.when(clicked).then(c.VALUE).otherwise(pl.lit(1.0, pl.Float32))
    return joined.with_columns(value.alias(c.VALUE))
