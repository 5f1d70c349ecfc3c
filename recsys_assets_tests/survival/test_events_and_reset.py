"""What a visitor does changes the next answer, once; and a reset makes them a visitor without a
past.
"""

from __future__ import annotations

import pytest

from recsys_assets.settings import FEAST_DATABASE, VISITOR_DATABASE
from recsys_assets_tests.support.stack import Stack, eventually
from recsys_assets_tests.support.tiny_payload import ITEM_IDS

pytestmark = pytest.mark.services
MOMENT = 1_760_000_000


def visitor_keys(stack: Stack, user_id: str) -> dict[bytes, bytes]:
    """All that is stored of a visitor, but for the events' own marks."""
    found = {}
    for database in (VISITOR_DATABASE, FEAST_DATABASE):
        with stack.valkey(database) as client:
            for key in client.scan_iter(count=1_000):
                if user_id.encode() in key:
                    found[b"%d " % database + key] = client.dump(key)
    return found


def test_an_event_changes_the_next_answer_and_twice_is_once(stack: Stack) -> None:
    before = stack.ids("clicker")
    events = [
        {"user_id": "clicker", "item_id": item, "event_id": f"click-{n}"}
        for n, item in enumerate(before[:3])
    ]
    for event in events:
        assert stack.http.post("/events", json=event).status_code == 202
    stack.applied([event["event_id"] for event in events])
    eventually(
        lambda: stack.trace("clicker")["user_numbers"][0, 3] == 3, "the clicks reach the features"
    )
    after = stack.ids("clicker")
    assert not set(after) & set(before[:3]) and after != before[3:]
    stored, numbers = (
        visitor_keys(stack, "clicker"),
        stack.trace("clicker")["user_numbers"][0, [1, 3]].tolist(),
    )
    assert stack.http.post("/events", json={"events": events + events}).status_code == 202
    stack.see(
        "clicker-after-the-second-delivery", ITEM_IDS[:1]
    )  # events are applied in their order
    again = {
        key: value
        for key, value in visitor_keys(stack, "clicker").items()
        if b"second-delivery" not in key
    }
    assert again == stored
    assert (
        stack.trace("clicker")["user_numbers"][0, [1, 3]].tolist() == numbers
        and stack.ids("clicker") == after
    )


def test_a_dismissed_item_is_gone_and_nothing_else_changes(stack: Stack) -> None:
    before = stack.ids("dismisser", timestamp=MOMENT)
    with stack.valkey(VISITOR_DATABASE) as client:
        popular = {key: client.dump(key) for key in client.scan_iter("popular_now:*")}
        stack.see("dismisser", before[2:3], event_type="Dismiss")
        after = stack.ids("dismisser", timestamp=MOMENT)
        assert popular == {key: client.dump(key) for key in client.scan_iter("popular_now:*")}
    assert before[2] not in after and after[: len(before) - 1] == [*before[:2], *before[3:]]
    assert stack.trace("dismisser")["user_numbers"][0, [1, 3]].tolist() == (
        stack.trace("never-was-here")["user_numbers"][0, [1, 3]].tolist()
    )
    assert stack.ids("another", timestamp=MOMENT) == before, "others are still shown it"
    said = stack.http.post("/explain", json={"user_id": "dismisser", "timestamp": MOMENT}).json()
    assert {"item_id": before[2], "why": "dismissed"} in said["filter"]["dropped"]
    assert said["filter"]["fates"]["dismissed"] == 1
    stack.http.post("/reset", json={"user_id": "dismisser"})
    eventually(lambda: stack.ids("dismisser", timestamp=MOMENT) == before, "a reset takes it back")


def test_an_impression_changes_nothing(stack: Stack) -> None:
    before = stack.ids("looker", timestamp=MOMENT)
    stack.see("looker", before[:5], event_type="Impression")
    assert stack.ids("looker", timestamp=MOMENT) == before


def test_after_a_reset_the_answer_is_that_of_who_has_no_past(stack: Stack) -> None:
    fresh = stack.ids("forgetful", top_k=40)
    stack.see("forgetful", ITEM_IDS[:30])
    eventually(
        lambda: stack.trace("forgetful")["user_numbers"][0, 3] == 30,
        "the clicks reach the features",
    )
    assert stack.ids("forgetful", top_k=40) != fresh
    answer = stack.http.post("/reset", json={"user_id": "forgetful", "event_id": "reset-1"})
    assert answer.status_code == 202 and answer.json() == {"event_id": "reset-1"}
    eventually(
        lambda: set(stack.ids("forgetful", top_k=40)) == set(fresh),
        "the seen items are shown again",
    )
    eventually(
        lambda: stack.trace("forgetful")["user_numbers"][0, 3] == 0, "the clicks are forgotten"
    )
    for name in ("user_cat", "user_cont", "user_history", "user_items", "user_ages"):
        assert (
            stack.trace("forgetful")[name].tolist() == stack.trace("never-was-here")[name].tolist()
        )
    assert stack.ids("forgetful", timestamp=MOMENT) == stack.ids("never-was-here", timestamp=MOMENT)
    stack.see("forgetful", ITEM_IDS[:1])  # what comes after it counts
    eventually(
        lambda: stack.trace("forgetful")["user_numbers"][0, 3] == 1,
        "the click after the reset counts",
    )
    assert ITEM_IDS[0] not in stack.ids("forgetful", top_k=40)
