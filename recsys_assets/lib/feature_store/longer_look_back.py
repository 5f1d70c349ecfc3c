"""Extend the clicks that are online when the look-back grows.

A row of the online store is replaced only by a newer one. So the row of a visitor who has not
clicked since would keep the clicks of the former look-back, while training reads those of the new
one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.columns import (
    OLDER_LOOK_BACK_DAYS,
    RECENT_CATEGORIES,
    RECENT_ITEMS,
    RECENT_TIMESTAMPS,
    TIMESTAMP,
    USER_ID,
)
from recsys_assets.lib.feature_store.click_history import merged
from recsys_assets.lib.feature_store.recent_clicks import (
    RecentClicks,
    push_recent_clicks,
    read_recent_clicks,
)
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.settings import VISITOR_DATABASE, Settings

#: Key of the days of clicks that the online rows cover.
ONLINE_LOOK_BACK = "online:look_back_days"
VISITORS_AT_ONCE = 1_000
#: Seconds after the newest click. Other rows of this click add only as many microseconds as the
#: visitor has updates, so the extended row is newer.
_NEWER = 0.5
_TIMEOUT_MS = 10_000


def extend_online(settings: Settings, features: Sequence[Artifact]) -> int:
    """Add the older clicks of a longer look-back to the online rows.

    It does nothing if the online rows cover the look-back already. Live clicks stay. A visitor
    whose online row holds no click was reset, and stays so.

    Args:
        settings: name the stores and the look-back.
        features: ``features/interactions`` of the look-back days, made with this look-back.

    Returns:
        The number of extended rows.

    Raises:
        redis.RedisError: the store did not answer or refused. The next call begins again.
    """
    with visitor_client(settings, VISITOR_DATABASE, timeout_ms=_TIMEOUT_MS) as client:
        stored = client.get(ONLINE_LOOK_BACK)
        covered = int(stored) if stored else OLDER_LOOK_BACK_DAYS
        extended = 0
        if covered < settings.look_back_days:
            extended = _extend(settings, _newest(features))
        client.set(ONLINE_LOOK_BACK, settings.look_back_days)
    return extended


def _newest(features: Sequence[Artifact]) -> pl.DataFrame:
    """Return each visitor's newest row of user_activity."""
    files = [artifact.path("user_activity.parquet") for artifact in features]
    return pl.scan_parquet(files).sort(USER_ID, TIMESTAMP).unique(USER_ID, keep="last").collect()


def _extend(settings: Settings, newest: pl.DataFrame) -> int:
    store, now, extended = open_store(settings), time.time(), 0
    for part in newest.iter_slices(VISITORS_AT_ONCE):
        rows = [
            RecentClicks(
                row[USER_ID],
                row[RECENT_CATEGORIES],
                row[RECENT_ITEMS],
                row[RECENT_TIMESTAMPS],
                row[TIMESTAMP] + _NEWER,
            )
            for row in part.iter_rows(named=True)
        ]
        online = read_recent_clicks(store, [row.user_id for row in rows])
        longer = [
            merged(row, online[row.user_id], now, settings.look_back_days)
            for row in rows
            if online[row.user_id]
        ]
        push_recent_clicks(store, longer)
        extended += len(longer)
    return extended
