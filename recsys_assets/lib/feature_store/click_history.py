"""Merge a visitor's live clicks into the row of Feast's user_activity.

The clicks of the look-back days come from the offline tables, the latest ones from the live views
in Valkey. A pushed row replaces the online row, so it has to hold both.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import redis
from google.protobuf.message import DecodeError

from recsys_assets.columns import SECONDS_PER_DAY
from recsys_assets.lib.feature_store.recent_clicks import (
    Click,
    RecentClicks,
    in_order,
    push_recent_clicks,
    read_recent_clicks,
)
from recsys_assets.lib.features.activity import RECENT_CLICKS

if TYPE_CHECKING:
    from feast import FeatureStore

logger = logging.getLogger(__name__)


def merged(
    live: RecentClicks, stored: Sequence[Click], now: float, look_back_days: int
) -> RecentClicks:
    """Return a visitor's live clicks and the online clicks as one row.

    A click that both have counts once: for each category, item and second, the larger of the two
    counts holds. So neither the order of merges nor a repetition changes the result. A click
    without an item equals one of the other side of the same category and second.

    Args:
        live: of ``VisitorState.recent_clicks``, with at least one click.
        stored: of the online row, in any order.
        now: Unix seconds.
        look_back_days: stored clicks that are older than these days of 24 hours are dropped.

    Returns:
        The latest RECENT_CLICKS clicks, oldest first, those of one second by category and item.
        ``updated_at`` is the time of the newest click, or of ``live`` if that is later, with the
        fraction of ``live``. So a late click, older than the online ones, makes a newer row too. A
        ``live`` that is ``whole`` is returned as it is.

    >>> row = merged(
    ...     RecentClicks("1", ["toys"], ["t1"], [70], 70.000002),
    ...     [Click("books", "b1", 50), Click("toys", "t1", 70), Click("toys", "t2", 90)],
    ...     now=99,
    ...     look_back_days=7,
    ... )
    >>> row.items, row.timestamps, row.updated_at
    (['b1', 't1', 't2'], [50, 70, 90], 90.000002)
    """
    if live.whole:
        return live
    oldest = int(now) - look_back_days * SECONDS_PER_DAY
    kept = [click for click in stored if click.at >= oldest]
    here = [*map(Click, live.categories, live.items, live.timestamps)]
    with_item = _with_item(kept) | _with_item(here)
    # one side may know the items of clicks that the other one holds without
    without_item = (_seconds(kept) | _seconds(here)) - _seconds(with_item.elements())
    clicks = [
        *with_item.elements(),
        *(Click(category, "", at) for category, at in without_item.elements()),
    ]
    clicks = in_order(clicks)[-RECENT_CLICKS:]
    second = int(live.updated_at)
    updated_at = round(live.updated_at + max(clicks[-1].at - second, 0), 6)
    categories, items, timestamps = ([*values] for values in zip(*clicks, strict=True))
    return RecentClicks(live.user_id, categories, items, timestamps, updated_at)


def _with_item(clicks: Iterable[Click]) -> Counter[Click]:
    """Count the clicks whose item is known."""
    return Counter(click for click in clicks if click.item)


def _seconds(clicks: Iterable[Click]) -> Counter[tuple[str, int]]:
    """Count clicks by category and second, with or without items."""
    return Counter((click.category, click.at) for click in clicks)


def push_merged(
    store: FeatureStore, rows: Sequence[RecentClicks], now: float, look_back_days: int
) -> None:
    """Merge visitors' live clicks with their online rows and push the result.

    One read and one write serve all rows.

    Args:
        store: whose online client has a time limit.
        rows: live clicks of distinct visitors.
        now: Unix seconds.
        look_back_days: see ``merged``.

    Raises:
        redis.RedisError: the store did not answer or refused. Some rows may be pushed, none of them
            shortened. Push all of them again.
    """
    if not rows:
        return
    try:
        stored = read_recent_clicks(store, [row.user_id for row in rows])
        push_recent_clicks(
            store, [merged(row, stored[row.user_id], now, look_back_days) for row in rows]
        )
    except (redis.ResponseError, DecodeError, ValueError, OverflowError) as error:
        if isinstance(error, redis.ResponseError) and "WRONGTYPE" not in str(error):
            raise
        if len(rows) > 1:
            for row in rows:  # one visitor's broken key must not block the others
                push_merged(store, [row], now, look_back_days)
        elif isinstance(error, DecodeError):  # it holds no readable history that could be lost
            logger.error(
                "Feast's row of user %s cannot be read; the live clicks replace it (%s)",
                rows[0].user_id,
                error,
            )
            push_recent_clicks(store, rows)
        else:  # another type, or a time outside the calendar, so that no push is newer
            logger.error(
                "recent clicks of user %s are not pushed: their Feast key holds a value that Feast "
                "did not write (%s: %s)",
                rows[0].user_id,
                type(error).__name__,
                error,
            )
