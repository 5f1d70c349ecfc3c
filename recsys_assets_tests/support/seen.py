"""Seen items as the event consumer marks them."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from recsys_assets.columns import MISSING
from recsys_assets.serving.events.events import Event
from recsys_assets.serving.events.visitor_state import VisitorState


def mark_seen(
    client: redis.Redis, user_id: str, item_ids: Sequence[str], timestamp: int, seen_days: int = 7
) -> None:
    """A view of each item at that moment.

    Args:
        client: of VISITOR_DATABASE. timestamp: unix seconds; more than ``seen_days`` ago, nothing
            is left of it.
    """
    events = [Event(user_id=user_id, item_id=item_id, timestamp=timestamp) for item_id in item_ids]
    VisitorState(client, seen_days).apply(
        [(f"0-{n}", event, MISSING) for n, event in enumerate(events)], timestamp
    )
