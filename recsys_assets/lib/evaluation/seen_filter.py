"""Finds the items that the seen filter drops for each query, and those dismissed later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.evaluation.item_sets import ItemSets
from recsys_assets.lib.features.seen import SeenRule
from recsys_assets.lib.landing.local_days import local_day
from recsys_assets.lib.raw.rows import scan_interactions


def seen_pairs(
    asked: pl.DataFrame,
    interactions: Sequence[Artifact],
    catalogue: pl.DataFrame,
    rule: SeenRule,
    zone: str,
) -> pl.DataFrame:
    """Return {query, item}: the items that the filter drops for each click, once each.

    Args:
        asked: {query, user_id, timestamp}.
        interactions: ``raw/interactions`` up to the last query.
        catalogue: {item_id, item}.
        rule: which events drop an item, for how many days.
        zone: time zone of the shop.
    """
    return _had(asked, interactions, catalogue, () if rule.never else rule.events, rule.days, zone)


def dropped(
    asked: pl.DataFrame,
    interactions: Sequence[Artifact],
    catalogue: pl.DataFrame,
    rule: SeenRule,
    zone: str,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return ``seen_pairs``, these with the dismissed items, and ``later_dismissed``.

    All are {query, item}, once each.

    The arguments are those of ``seen_pairs``.
    """
    seen = seen_pairs(asked, interactions, catalogue, rule, zone)
    dismissed = _had(asked, interactions, catalogue, (c.DISMISS,), rule.dismissed_days, zone)
    hidden = pl.concat([seen, dismissed]).unique().sort("query", "item")
    return seen, hidden, later_dismissed(asked, interactions, catalogue, dismissed)


def later_dismissed(
    asked: pl.DataFrame,
    interactions: Sequence[Artifact],
    catalogue: pl.DataFrame,
    dismissed: pl.DataFrame,
) -> pl.DataFrame:
    """Return {query, item}: the items that each query's visitor dismisses at it or after it.

    Items of ``dismissed`` are left out: they can be in no list.

    Args:
        asked: {query, user_id, timestamp}.
        interactions: ``raw/interactions`` up to the end of the validation days.
        catalogue: {item_id, item}.
        dismissed: {query, item}, those that are hidden from each query.
    """
    asks = asked.lazy().select("query", c.USER_ID, asked_at=pl.col(c.TIMESTAMP))
    return (
        scan_interactions(interactions)
        .filter(pl.col(c.EVENT_TYPE) == c.DISMISS, pl.col(c.USER_ID) != c.MISSING)
        .join(catalogue.lazy(), on=c.ITEM_ID)
        .join(asks, on=c.USER_ID)
        .filter(pl.col(c.TIMESTAMP) >= pl.col("asked_at"))
        .select("query", "item")
        .unique()
        .join(dismissed.lazy(), on=["query", "item"], how="anti")
        .sort("query", "item")
        .collect()
    )


def _had(
    asked: pl.DataFrame,
    interactions: Sequence[Artifact],
    catalogue: pl.DataFrame,
    events: Sequence[str],
    days: int,
    zone: str,
) -> pl.DataFrame:
    """Return {query, item}: items with one of the events in the days before each query."""
    if not events:  # the log need not be read
        return pl.DataFrame(schema={"query": pl.Int64, "item": pl.Int32})
    asks = asked.select("query", c.USER_ID, asked_at=pl.col(c.TIMESTAMP)).filter(
        pl.col(c.USER_ID) != c.MISSING
    )
    # of the events on an item on one day, the first one counts
    had = (
        scan_interactions(interactions)
        .filter(pl.col(c.EVENT_TYPE).is_in(events))
        .join(asks.lazy().select(c.USER_ID).unique(), on=c.USER_ID, how="semi")
        .join(catalogue.lazy(), on=c.ITEM_ID)
        .group_by(c.USER_ID, "item", day=local_day(pl.col(c.TIMESTAMP), zone))
        .agg(first=pl.col(c.TIMESTAMP).min())
    )
    age = local_day(pl.col("asked_at"), zone) - pl.col("day")
    return (
        asks.lazy()
        .join(had, on=c.USER_ID)
        .filter(pl.col("first") < pl.col("asked_at"), age < days)
        .select("query", "item")
        .unique()
        .sort("query", "item")
        .collect()
    )


def item_sets(pairs: pl.DataFrame, query: np.ndarray, simulated: np.ndarray) -> ItemSets | None:
    """Return pairs {query, item} as sets of the kept queries; None without any."""
    return ItemSets(*seen_rows(pairs, query, simulated)) if pairs.height else None


def seen_rows(
    seen: pl.DataFrame, query: np.ndarray, simulated: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds and items of the kept queries, in their order.

    A simulated visitor is unknown and has seen no item.
    """
    of_query, items = seen["query"].to_numpy(), seen["item"].to_numpy()
    kept = np.isin(of_query, query)
    size = np.bincount(np.searchsorted(query, of_query[kept]), minlength=len(query))
    start = np.concatenate([[0], np.cumsum(size), np.full(len(simulated), size.sum())]).astype(
        np.int64
    )
    return start, np.ascontiguousarray(items[kept], np.int32)
