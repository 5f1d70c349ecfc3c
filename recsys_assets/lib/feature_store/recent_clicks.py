"""A visitor's clicks of the last days in the online store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from recsys_assets.columns import RECENT_CATEGORIES, RECENT_TIMESTAMPS, USER_ID
from recsys_assets.lib.feature_store.views import EVENT_TIMESTAMP, USER_ACTIVITY, USER_ACTIVITY_PUSH

if TYPE_CHECKING:
    from feast import FeatureStore


class RecentClicks(NamedTuple):
    """A visitor's clicks of the last seven days, oldest first; a row of the view user_activity."""

    user_id: str
    categories: Sequence[str]
    timestamps: Sequence[int]  # unix seconds
    updated_at: float  # unix seconds, with a fraction down to microseconds
    whole: bool = False  # nothing but these counts, whatever is online: the visitor was reset


def read_recent_clicks(
    store: FeatureStore, user_ids: Sequence[str]
) -> dict[str, list[tuple[str, int]]]:
    """What is online of visitors' clicks, in one read: user id → (category, unix seconds), oldest
    first.

    Empty where nothing is stored, or lists that do not belong together.

    Raises:
        redis.RedisError: the online store did not answer, or a key holds another type.
        DecodeError, ValueError, OverflowError: a stored value is none that Feast wrote.
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
    """Push visitors' live clicks, online only, in one write.

    A row that is not newer (``updated_at``) than what is online for its visitor is ignored.
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
