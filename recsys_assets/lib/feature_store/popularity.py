"""Write the popularity rankings into Valkey."""

from __future__ import annotations

import uuid

import polars as pl
import redis

from recsys_assets.columns import ITEM_ID
from recsys_assets.lib.features.popularity import rankings

KEY_PREFIX = "popularity:"
#: Temporary keys of a dead writer expire after this many seconds.
_TEMPORARY_SECONDS = 600
_BATCH = 5_000


def write_popularity(client: redis.Redis, counts: pl.DataFrame) -> int:
    """Replace the sorted sets ``popularity:<scope>``; return how many were written.

    A member is an item_id, its score the clicks. New sets are written under temporary keys. One
    transaction then renames them and deletes the sets of scopes that no longer exist, so that a
    reader sees either the old state or the new one.

    Args:
        client: of the popularity database.
        counts: from ``features.popularity.count_clicks``.

    Raises:
        ValueError: there are no items; this would delete the lists that serving falls back to.
    """
    if counts.is_empty():
        raise ValueError(
            "the popularity ranking is empty: materialise raw/items and raw/interactions first"
        )
    token = uuid.uuid4().hex
    fresh: dict[str, str] = {}  # temporary key → key
    for (scope,), group in rankings(counts).group_by("scope", maintain_order=True):
        key = f"{KEY_PREFIX}{scope}"
        temporary = f"tmp:{token}:{key}"
        fresh[temporary] = key
        members = list(zip(group[ITEM_ID].to_list(), group["clicks"].to_list(), strict=True))
        with client.pipeline(transaction=False) as pipe:
            for start in range(0, len(members), _BATCH):
                pipe.zadd(temporary, dict(members[start : start + _BATCH]))
            pipe.expire(temporary, _TEMPORARY_SECONDS)
            pipe.execute()
    kept = {key.encode() for key in fresh.values()}
    present = {
        key if isinstance(key, bytes) else key.encode()
        for key in client.scan_iter(match=f"{KEY_PREFIX}*")
    }
    with client.pipeline(transaction=True) as pipe:
        for temporary, key in fresh.items():
            pipe.rename(temporary, key)
            pipe.persist(key)
        if stale := present - kept:
            pipe.delete(*stale)
        pipe.execute()
    return len(fresh)
