"""What a dismissal leaves in the store, on a real Valkey: it hides an item and nothing else."""

from __future__ import annotations

import time
from typing import Any

import pytest

from recsys_assets.columns import DISMISS, EVENT_TYPES, INTEREST_EVENTS
from recsys_assets.lib.feature_store import bloom
from recsys_assets.lib.feature_store.hidden import hidden
from recsys_assets.lib.features.seen import DEFAULT_RULE, NEVER, nothing_seen
from recsys_assets.local_time import UTC
from recsys_assets.serving.events.events import Event, Reset, parse_entry
from recsys_assets.serving.events.visitor_state import Outcome, VisitorState, event_key
from recsys_assets.settings import VISITOR_DATABASE

pytestmark = pytest.mark.services
ITEMS = [f"item-{n}" for n in range(200)]


@pytest.fixture
def client(valkey: Any) -> Any:
    return valkey.client(VISITOR_DATABASE)


@pytest.fixture
def state(client: Any) -> VisitorState:
    return VisitorState(client, kept_days=7, zone=UTC, look_back_days=30)


def apply(state: VisitorState, event_id: str, item: str, kind: str, stream: str = "1-1") -> Outcome:
    now = int(time.time())
    event = Event(event_id=event_id, user_id="u", item_id=item, timestamp=now, event_type=kind)
    [outcome] = state.apply([(stream, event, "toys")], now)
    return outcome


def hidden_items(client: Any, rule: Any) -> tuple[set[str], set[str]]:
    """Items that count as seen, and those dismissed."""
    days = bloom.last_days(time.time(), rule.dismissed_days, UTC)
    bitmaps = client.mget(bloom.seen_keys("u", days))
    seen, dismissed = hidden(bitmaps, bloom.fingerprints(ITEMS), rule)
    return (
        {item for item, yes in zip(ITEMS, seen, strict=True) if yes},
        {item for item, yes in zip(ITEMS, dismissed, strict=True) if yes},
    )


def test_a_dismissal_makes_no_history_and_no_count(client: Any, state: VisitorState) -> None:
    today = bloom.day_of(time.time(), UTC)
    assert apply(state, "d1", ITEMS[0], DISMISS) == Outcome.APPLIED
    keys = {key.decode() for key in client.keys("*")}
    assert keys == {event_key("d1"), bloom.seen_key("u", today)}
    assert client.expiretime(bloom.seen_key("u", today)) == bloom.expiry(today, 7, UTC)
    assert state.recent_clicks(["u"], time.time()) == []
    apply(state, "v1", ITEMS[1], "View")  # a click does: the test can fail
    assert len(client.keys("*")) > 4
    assert [one.items for one in state.recent_clicks(["u"], time.time())] == [[ITEMS[1]]]


def test_it_hides_exactly_that_item_whatever_the_rule(client: Any, state: VisitorState) -> None:
    apply(state, "d1", ITEMS[0], DISMISS)
    apply(state, "v1", ITEMS[1], "View")
    apply(state, "d2", ITEMS[1], DISMISS)  # clicked first, then dismissed
    apply(state, "v2", ITEMS[2], "View")
    apply(state, "i1", ITEMS[3], "Impression")
    assert hidden_items(client, DEFAULT_RULE) == ({ITEMS[2]}, {ITEMS[0], ITEMS[1]})
    assert hidden_items(client, NEVER) == (set(), {ITEMS[0], ITEMS[1]})
    assert hidden_items(client, nothing_seen(30)) == (set(), {ITEMS[0], ITEMS[1]})


def test_twice_is_once_and_a_reset_takes_it_back(client: Any, state: VisitorState) -> None:
    assert apply(state, "d1", ITEMS[0], DISMISS, "1-1") == Outcome.APPLIED
    before = client.get(bloom.seen_key("u", bloom.day_of(time.time(), UTC)))
    assert apply(state, "d1", ITEMS[0], DISMISS, "1-1") == Outcome.REDELIVERED
    assert apply(state, "d1", ITEMS[5], DISMISS, "1-2") == Outcome.DUPLICATE
    assert client.get(bloom.seen_key("u", bloom.day_of(time.time(), UTC))) == before
    state.reset("1-3", Reset(user_id="u"), time.time())
    assert hidden_items(client, DEFAULT_RULE) == (set(), set())


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_only_events_of_interest_are_clicks(kind: str) -> None:
    event = Event(user_id="u", item_id="i", event_type=kind)
    assert event.click == (kind in INTEREST_EVENTS)
    fields = {name.encode(): value.encode() for name, value in event.fields().items()}
    assert parse_entry(fields) == event
