"""Popularity: clicks per item, ranked over the whole catalogue and within each category, and its online copy."""

from __future__ import annotations

import uuid

import polars as pl
import redis

from recsys_assets.columns import CATEGORY_L1, CATEGORY_L2, EVENT_TYPE, ITEM_ID, VIEW

KEY_PREFIX = "popularity:"
#: Keys that a dead writer left behind vanish after this many seconds.
_TEMPORARY_SECONDS = 600
_BATCH = 5_000


def count_clicks(interactions: pl.DataFrame | pl.LazyFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Clicks of every item, the most clicked first; an item without any has 0, so that every ranking is complete.

    Args:
        interactions: RAW_INTERACTIONS of any number of days; each View counts once, the funnel behind it does not.
        items: RAW_ITEMS; interactions with other items do not count.

    Returns:
        {item_id, category_l1, category_l2, clicks: Int64}; equal counts by item_id.
    """
    clicks = (interactions.lazy().filter(pl.col(EVENT_TYPE) == VIEW)
              .group_by(ITEM_ID).agg(clicks=pl.len().cast(pl.Int64)).collect())
    return (items.select(ITEM_ID, CATEGORY_L1, CATEGORY_L2).join(clicks, on=ITEM_ID, how="left")
            .with_columns(pl.col("clicks").fill_null(0)).sort("clicks", ITEM_ID, descending=[True, False]))


def rankings(counts: pl.DataFrame) -> pl.DataFrame:
    """All rankings of ``count_clicks``: {scope, item_id, clicks, rank: UInt32 from 1}, ordered by scope and rank.

    The scope is ``global``, ``category_l1:<value>`` or ``category_l2:<value>``.
    """
    scopes = [counts.select(pl.lit("global").alias("scope"), ITEM_ID, "clicks")]
    scopes += [counts.select(pl.format(column + ":{}", pl.col(column)).alias("scope"), ITEM_ID, "clicks")
               for column in (CATEGORY_L1, CATEGORY_L2)]
    ranked = pl.concat(scopes).sort("scope", "clicks", ITEM_ID, descending=[False, True, False])
    return ranked.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).over("scope"))


def write_popularity(client: redis.Redis, counts: pl.DataFrame) -> int:
    """Replace the sorted sets ``popularity:<scope>`` (member item_id, score clicks); returns how many were written.

    New sets are filled beside the old ones, then all are renamed, and those of vanished scopes deleted, in one
    transaction: a reader sees the old state or the new one.

    Raises ValueError where there are no items: that would delete what serving falls back to.
    """
    if counts.is_empty():
        raise ValueError("the popularity ranking is empty: materialise raw/items and raw/interactions first")
    token = uuid.uuid4().hex
    fresh: dict[str, str] = {}  # temporary key → key
    for (scope,), group in rankings(counts).group_by("scope", maintain_order=True):
        key = f"{KEY_PREFIX}{scope}"
        temporary = f"tmp:{token}:{key}"
        fresh[temporary] = key
        members = list(zip(group[ITEM_ID].to_list(), group["clicks"].to_list(), strict=True))
        with client.pipeline(transaction=False) as pipe:
            for start in range(0, len(members), _BATCH):
                pipe.zadd(temporary, dict(members[start:start + _BATCH]))
            pipe.expire(temporary, _TEMPORARY_SECONDS)
            pipe.execute()
    kept = {key.encode() for key in fresh.values()}
    present = {key if isinstance(key, bytes) else key.encode() for key in client.scan_iter(match=f"{KEY_PREFIX}*")}
    with client.pipeline(transaction=True) as pipe:
        for temporary, key in fresh.items():
            pipe.rename(temporary, key)
            pipe.persist(key)
        if stale := present - kept:
            pipe.delete(*stale)
        pipe.execute()
    return len(fresh)
