"""Count clicks per item, and rank items in the whole catalogue and per category."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.columns import CATEGORY_L1, CATEGORY_L2, EVENT_TYPE, ITEM_ID, VIEW
from recsys_assets.lib.raw.rows import scan_interactions


def count_clicks(interactions: pl.DataFrame | pl.LazyFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Return the clicks of every item, most clicked first.

    Args:
        interactions: RAW_INTERACTIONS of any number of days; only View events count.
        items: RAW_ITEMS; interactions with other items do not count.

    Returns:
        {item_id, category_l1, category_l2, clicks: Int64}, one row per item, 0 without a click;
        equal counts by item_id.
    """
    clicks = (
        interactions.lazy()
        .filter(pl.col(EVENT_TYPE) == VIEW)
        .group_by(ITEM_ID)
        .agg(clicks=pl.len().cast(pl.Int64))
        .collect()
    )
    return (
        items.select(ITEM_ID, CATEGORY_L1, CATEGORY_L2)
        .join(clicks, on=ITEM_ID, how="left")
        .with_columns(pl.col("clicks").fill_null(0))
        .sort("clicks", ITEM_ID, descending=[True, False])
    )


def rankings(counts: pl.DataFrame) -> pl.DataFrame:
    """Rank the items of ``count_clicks`` overall and per category.

    Returns:
        {scope, item_id, clicks, rank: UInt32 from 1}, ordered by scope and rank. The scope is
        ``global``, ``category_l1:<value>`` or ``category_l2:<value>``.
    """
    scopes = [counts.select(pl.lit("global").alias("scope"), ITEM_ID, "clicks")]
    scopes += [
        counts.select(pl.format(column + ":{}", pl.col(column)).alias("scope"), ITEM_ID, "clicks")
        for column in (CATEGORY_L1, CATEGORY_L2)
    ]
    ranked = pl.concat(scopes).sort("scope", "clicks", ITEM_ID, descending=[False, True, False])
    return ranked.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).over("scope"))


def clicks_of_days(interactions: Sequence[Artifact], items: Artifact) -> pl.DataFrame:
    """Return every item with its clicks over these days, most clicked first."""
    scanned = scan_interactions(interactions)
    return count_clicks(scanned, pl.read_parquet(items.path("items.parquet")))


def write_popularity(
    interactions: Sequence[Artifact], items: Artifact, target: Path
) -> dict[str, Any]:
    """Write popularity.parquet (see ``count_clicks``); return the metrics."""
    counts = clicks_of_days(interactions, items)
    counts.write_parquet(target / "popularity.parquet")
    return {
        "rows": counts.height,
        "clicks": int(counts["clicks"].sum()),
        "items_without_click": int((counts["clicks"] == 0).sum()),
    }
