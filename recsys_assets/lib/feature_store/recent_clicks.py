"""Read and write visitors' recent clicks in the online store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from recsys_assets.columns import RECENT_CATEGORIES, RECENT_ITEMS, RECENT_TIMESTAMPS, USER_ID
from recsys_assets.lib.feature_store.views import EVENT_TIMESTAMP, USER_ACTIVITY, USER_ACTIVITY_PUSH

if TYPE_CHECKING:
    from feast import FeatureStore


#: Features that a row of recent clicks is read from.
FEATURES = tuple(
    f"{USER_ACTIVITY}:{name}" for name in (RECENT_CATEGORIES, RECENT_ITEMS, RECENT_TIMESTAMPS)
)


class Click(NamedTuple):
    """Holds one click of a visitor."""

    category: str
    item: str  # "" in a row that was written before rows had items
    at: int  # unix seconds


def in_order(clicks: Iterable[Click]) -> list[Click]:
    """Return clicks by time, and those of a second by item, as ``ClickRanges`` has them.

    >>> in_order([Click("toys", "b", 7), Click("books", "c", 7), Click("books", "d", 5)])
    [Click(category='books', item='d', at=5), Click(category='toys', item='b', at=7), \
Click(category='books', item='c', at=7)]
    """
    return sorted(clicks, key=lambda click: (click.at, click.item, click.category))


class RecentClicks(NamedTuple):
    """Holds a visitor's clicks of the look-back days, oldest first; a row of user_activity."""

    user_id: str
    categories: Sequence[str]
    items: Sequence[str]
    timestamps: Sequence[int]  # unix seconds
    updated_at: float  # unix seconds, with microseconds
    whole: bool = False  # the visitor was reset: ignore all clicks that are online


def read_recent_clicks(store: FeatureStore, user_ids: Sequence[str]) -> dict[str, list[Click]]:
    """Read visitors' online clicks in one request.

    Returns:
        User id → clicks, oldest first. The list is empty if nothing is stored, or if the stored
        lists do not fit together.

    Raises:
        redis.RedisError: the online store did not answer, or a key holds another type.
        DecodeError: a stored value was not written by Feast.
        ValueError: a stored value was not written by Feast.
        OverflowError: a stored value was not written by Feast.
    """
    answer = (
        store.get_online_features(list(FEATURES), {USER_ID: list(user_ids)}).to_dict()
        if user_ids
        else {USER_ID: []}
    )
    columns = (
        answer.get(name, []) for name in (RECENT_CATEGORIES, RECENT_ITEMS, RECENT_TIMESTAMPS)
    )
    return {
        user_id: stored_clicks(*row)
        for user_id, *row in zip(answer[USER_ID], *columns, strict=True)
    }


def stored_clicks(categories: object, items: object, timestamps: object) -> list[Click]:
    """Return the clicks of three stored lists; none if they do not fit together."""
    if not isinstance(categories, list) or not isinstance(timestamps, list):
        return []
    if not isinstance(items, list) or len(items) != len(categories):
        items = [""] * len(categories)
    fits = (
        len(categories) == len(timestamps)
        and all(isinstance(name, str) for name in (*categories, *items))
        and all(isinstance(at, int) for at in timestamps)
    )
    return [*map(Click, categories, items, timestamps)] if fits else []


def push_recent_clicks(store: FeatureStore, rows: Sequence[RecentClicks]) -> None:
    """Push visitors' live clicks to the online store in one write.

    A row is ignored if its ``updated_at`` is not newer than the visitor's online row.
    """
    import pandas as pd
    from feast.data_source import PushMode

    if not rows:
        return
    frame = pd.DataFrame(
        {
            USER_ID: [row.user_id for row in rows],
            RECENT_CATEGORIES: [list(row.categories) for row in rows],
            RECENT_ITEMS: [list(row.items) for row in rows],
            RECENT_TIMESTAMPS: [list(row.timestamps) for row in rows],
            EVENT_TIMESTAMP: pd.to_datetime(
                [round(row.updated_at * 1e6) for row in rows], unit="us", utc=True
            ),
        }
    )
    store.push(USER_ACTIVITY_PUSH, frame, to=PushMode.ONLINE)
