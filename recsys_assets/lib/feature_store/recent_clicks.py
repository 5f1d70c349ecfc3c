"""Read and write visitors' recent clicks in the online store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from recsys_assets.columns import RECENT_CATEGORIES, RECENT_TIMESTAMPS, USER_ID
from recsys_assets.lib.feature_store.views import EVENT_TIMESTAMP, USER_ACTIVITY, USER_ACTIVITY_PUSH

if TYPE_CHECKING:
    from feast import FeatureStore


class RecentClicks(NamedTuple):
    """Holds a visitor's clicks of seven days, oldest first; a row of user_activity."""

    user_id: str
    categories: Sequence[str]
    timestamps: Sequence[int]  # unix seconds
    updated_at: float  # unix seconds, with microseconds
    whole: bool = False  # the visitor was reset: ignore all clicks that are online


def read_recent_clicks(
    store: FeatureStore, user_ids: Sequence[str]
) -> dict[str, list[tuple[str, int]]]:
    """Read visitors' online clicks in one request.

    Returns:
        User id → (category, unix seconds) pairs, oldest first. The list is empty if nothing is
        stored, or if the stored lists do not fit together.

    Raises:
        redis.RedisError: the online store did not answer, or a key holds another type.
        DecodeError: a stored value was not written by Feast.
        ValueError: a stored value was not written by Feast.
        OverflowError: a stored value was not written by Feast.
    """
    names = [f"{USER_ACTIVITY}:{name}" for name in (RECENT_CATEGORIES, RECENT_TIMESTAMPS)]
    answer = (
        store.get_online_features(names, {USER_ID: list(user_ids)}).to_dict()
        if user_ids
        else {USER_ID: []}
    )
    found = {}
    for user_id, categories, timestamps in zip(
        answer[USER_ID],
        *(answer.get(name, []) for name in (RECENT_CATEGORIES, RECENT_TIMESTAMPS)),
        strict=True,
    ):
        fits = (
            isinstance(categories, list)
            and isinstance(timestamps, list)
            and len(categories) == len(timestamps)
            and all(isinstance(name, str) for name in categories)
            and all(isinstance(at, int) for at in timestamps)
        )
        found[user_id] = list(zip(categories, timestamps, strict=True)) if fits else []
    return found


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
            RECENT_TIMESTAMPS: [list(row.timestamps) for row in rows],
            EVENT_TIMESTAMP: pd.to_datetime(
                [round(row.updated_at * 1e6) for row in rows], unit="us", utc=True
            ),
        }
    )
    store.push(USER_ACTIVITY_PUSH, frame, to=PushMode.ONLINE)
