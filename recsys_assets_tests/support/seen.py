"""Seen items as the event consumer marks them, and the rule of a release."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.columns import MISSING
from recsys_assets.files import write_json
from recsys_assets.lib.features.seen import DEFAULT_RULE, SeenRule
from recsys_assets.local_time import UTC
from recsys_assets.release_files import SEEN_RULE
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
    VisitorState(client, seen_days, UTC, look_back_days=7).apply(
        [(f"0-{n}", event, MISSING) for n, event in enumerate(events)], timestamp
    )


def publish_rule(store: ArtifactStore, as_of: str, rule: SeenRule = DEFAULT_RULE) -> Artifact:
    """Publish a ``features/seen_rule``."""
    with store.stage("features/seen_rule", as_of) as staged:
        write_json(staged.path / SEEN_RULE, rule.as_json())
        return staged.publish()
