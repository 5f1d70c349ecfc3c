"""A visitor's clicks in Feast's user_activity: what is online already, joined with the live views
of Valkey.

A week of clicks comes from the offline tables, the latest ones live. A row that is pushed takes the
place of the one that is online, so it has to hold both.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import redis
from google.protobuf.message import DecodeError

from recsys_assets.lib.feature_store.recent_clicks import (
    RecentClicks,
    push_recent_clicks,
    read_recent_clicks,
)
from recsys_assets.lib.features.activity import HISTORY_SECONDS, RECENT_CLICKS

if TYPE_CHECKING:
    from feast import FeatureStore

logger = logging.getLogger(__name__)


def merged(live: RecentClicks, stored: Sequence[tuple[str, int]], now: float) -> RecentClicks:
    """A visitor's live clicks and those that are online as one row.

    A click that both know is one click: of each (category, second) as many count as the one that
    has more of them says. So the order of merges, and how often one is repeated, makes no
    difference.

    Args:
        live: of ``VisitorState.recent_clicks``, with at least one click.
        stored: (category, unix seconds) of the online row, in any order.
        now: unix seconds; what lies more than HISTORY_SECONDS before is dropped.

    Returns:
        The latest RECENT_CLICKS clicks, oldest first, those of one second by category.
        ``updated_at`` is the time of the newest click or ``live``'s own, with the fraction of
        ``live``: a late click, older than what is online, makes a newer row too. A ``live`` that is
            ``whole`` stays as it is.

    >>> row = merged(
    ...     RecentClicks("1", ["toys"], [70], 70.000002),
    ...     [("books", 50), ("toys", 70), ("toys", 90)],
    ...     now=99,
    ... )
    >>> row.categories, row.timestamps, row.updated_at
    (['books', 'toys', 'toys'], [50, 70, 90], 90.000002)
    """
    if live.whole:
        return live
    known = Counter((category, at) for category, at in stored if at >= int(now) - HISTORY_SECONDS)
    clicks = sorted(
        (known | Counter(zip(live.categories, live.timestamps, strict=True))).elements(),
        key=lambda click: (click[1], click[0]),
    )[-RECENT_CLICKS:]
    second = int(live.updated_at)
    updated_at = round(live.updated_at + max(clicks[-1][1] - second, 0), 6)
    return RecentClicks(
        live.user_id, [category for category, _ in clicks], [at for _, at in clicks], updated_at
    )


def push_merged(store: FeatureStore, rows: Sequence[RecentClicks], now: float) -> None:
    """Push visitors' live clicks merged with what is online of them: one read and one write for
    all.

    Args:
        store: whose online client has a time limit. rows: distinct visitors. now: unix seconds.

    Raises:
        redis.RedisError: the store did not answer or refused; nothing, or a part of the rows, is
            pushed, none of them shortened. Push all of them again.
    """
    if not rows:
        return
    try:
        stored = read_recent_clicks(store, [row.user_id for row in rows])
        push_recent_clicks(store, [merged(row, stored[row.user_id], now) for row in rows])
    except (redis.ResponseError, DecodeError, ValueError, OverflowError) as error:
        if isinstance(error, redis.ResponseError) and "WRONGTYPE" not in str(error):
            raise
        if len(rows) > 1:
            for row in rows:  # one visitor's broken key must not keep the others back
                push_merged(store, [row], now)
        elif isinstance(error, DecodeError):  # no history is left in it that could be lost
            logger.error(
                "what Feast holds of user %s cannot be read; the live clicks take its place (%s)",
                rows[0].user_id,
                error,
            )
            push_recent_clicks(store, rows)
        else:  # another type, or a time outside the calendar, which no push is newer than
            logger.error(
                "recent clicks of user %s are not pushed: its Feast key holds what Feast did not "
                "write (%s: %s)",
                rows[0].user_id,
                type(error).__name__,
                error,
            )
