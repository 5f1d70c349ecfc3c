"""Events into the stream, and what one event changes for its visitor."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis
from pydantic import ValidationError

from recsys_assets.lib.feature_store import bloom
from recsys_assets.lib.feature_store.recent_clicks import RecentClicks
from recsys_assets.lib.features.activity import RECENT_CLICKS
from recsys_assets.local_time import UTC
from recsys_assets.serving.events.events import (
    Event,
    Reset,
    enqueue,
    enqueue_all,
    identifier,
    parse_entry,
    reset_fields,
)
from recsys_assets.serving.events.visitor_state import Outcome, VisitorState

NOW = int(time.time())
WEEK = 7 * 86_400


@pytest.mark.parametrize(
    ("given", "text"), [("u", "u"), (7, "7"), (-1, "-1"), ("ü 1", "ü 1"), ("x" * 128, "x" * 128)]
)
def test_identifiers(given: Any, text: str) -> None:
    assert identifier(given) == text


@pytest.mark.parametrize(
    "given",
    ["", "  ", "x" * 129, 10**128, True, None, 1.5, float("nan"), ["u"], "a\nb", "\ud800", "\0"],
)
def test_bad_identifiers(given: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        identifier(given)


def test_an_event_survives_the_stream(valkey: Any) -> None:
    client = valkey.client(1)
    event = Event(user_id="ü|1", item_id="a b", device_type="tablet", event_type="Purchase")
    stream_id = enqueue(client, event)
    ((read_id, fields),) = client.xrange("events")
    assert read_id.decode() == stream_id and parse_entry(fields) == event
    assert event.click == 1 and Event(user_id="1", item_id="a", event_type="Impression").click == 0
    assert len(enqueue_all(client, [event, event])) == 2 and client.xlen("events") == 3


def test_every_event_gets_its_own_id() -> None:
    assert Event(user_id="1", item_id="a").event_id != Event(user_id="1", item_id="a").event_id
    with pytest.raises(ValidationError, match="event_id"):
        Event(user_id="1", item_id="a", event_id="with|bar")


@pytest.fixture
def client(valkey: Any) -> redis.Redis:
    return valkey.client(1)


@pytest.fixture
def state(client: redis.Redis) -> VisitorState:
    return VisitorState(client, 7, UTC, look_back_days=7)


def event(
    event_id: str, item_id: str = "a", at: int = NOW, user_id: str = "1", kind: str = "View"
) -> Event:
    return Event(event_id=event_id, user_id=user_id, item_id=item_id, timestamp=at, event_type=kind)


def everything(client: redis.Redis) -> dict[bytes, bytes]:
    return {key: client.dump(key) for key in client.scan_iter()}


def test_an_event_marks_the_item_as_seen(client: redis.Redis, state: VisitorState) -> None:
    assert state.apply([("1-0", event("e1"), "books")], NOW) == [Outcome.APPLIED]
    key = bloom.seen_key("1", bloom.day_of(NOW, UTC))
    assert bloom.contains([client.get(key)], bloom.fingerprints(["a", "b"])).tolist() == [
        True,
        False,
    ]
    begin = NOW - NOW % 86_400
    assert client.expiretime(key) == begin + 8 * 86_400
    assert client.lrange("recent:1", 0, -1) == [b"a"]
    assert client.zrange("views:1", 0, -1, withscores=True) == [(b"e1\x1fa\x1fbooks", float(NOW))]


def test_the_same_event_twice_changes_nothing(client: redis.Redis, state: VisitorState) -> None:
    state.apply([("1-0", event("e1"), "books"), ("2-0", event("e2", "b"), "books")], NOW)
    before, clicks = everything(client), state.recent_clicks(["1"], NOW)
    assert state.apply([("1-0", event("e1"), "books")], NOW) == [Outcome.REDELIVERED]
    assert state.apply([("9-0", event("e1"), "books")], NOW) == [Outcome.DUPLICATE]
    assert everything(client) == before and state.recent_clicks(["1"], NOW) == clicks


def test_impressions_only_land(client: redis.Redis, state: VisitorState) -> None:
    assert state.apply([("1-0", event("e1", kind="Impression"), "books")], NOW) == [Outcome.APPLIED]
    assert list(client.scan_iter()) == [b"event:e1"]
    assert state.apply([("2-0", event("e1", kind="Impression"), "books")], NOW) == [
        Outcome.DUPLICATE
    ]


def test_recent_clicks_are_those_of_the_last_seven_days(
    client: redis.Redis, state: VisitorState
) -> None:
    state.apply(
        [
            ("1-0", event("e1", at=NOW - WEEK - 1), "tools"),
            ("2-0", event("e2", "d|4", at=NOW - WEEK), "toys"),
            ("3-0", event("e3", at=NOW - 50), "books|old"),
            ("4-0", event("e4", "ü c", at=NOW - 90), "tools"),
            ("5-0", event("e5", at=NOW - 10, kind="Impression"), "toys"),
            ("6-0", event("e6", "b", at=NOW - 20, kind="Purchase"), "books"),
            ("7-0", event("e7", at=NOW - 15), "-1"),
        ],
        NOW,
    )
    (row,) = state.recent_clicks(
        ["1", "nobody"], NOW + 0.9
    )  # the window's edge does not depend on the fraction
    assert row.user_id == "1" and row.categories == ["toys", "tools", "books|old", "books"]
    assert row.items == ["d|4", "ü c", "a", "b"]
    assert row.timestamps == [NOW - WEEK, NOW - 90, NOW - 50, NOW - 20]
    assert (
        len(state.recent_clicks(["1"], NOW + 86_400)[0].timestamps) == 3
    )  # a click of yesterday still counts
    assert state.recent_clicks(["1"], NOW + WEEK) == []


def test_views_of_the_older_form_count_without_items(
    client: redis.Redis, state: VisitorState
) -> None:
    """Members as written before views had items: event id, "|", category."""
    client.zadd("views:1", {"e1|books": NOW - 90, "e:2.x|tools|of|old": NOW - 30})
    state.apply([("3-0", event("e3", "c", at=NOW - 60), "tools")], NOW)
    (row,) = state.recent_clicks(["1"], NOW)
    assert row.categories == ["books", "tools", "tools|of|old"]
    assert row.items == ["", "c", ""] and row.timestamps == [NOW - 90, NOW - 60, NOW - 30]
    # by the same script they are pruned and forgotten
    assert state.recent_clicks(["1"], NOW - 90 + WEEK + 1)[0].items == ["c", ""]
    state.apply([("4-0", event("e4", "a", at=NOW + 5), "books")], NOW - 90 + WEEK + 1)
    assert client.zcard("views:1") == 3
    assert state.reset("5-0", Reset(user_id="1"), NOW)[0] is Outcome.APPLIED
    assert state.recent_clicks(["1"], NOW) == []


def test_views_older_than_seven_days_are_pruned_and_the_rest_outlives_them(
    client: redis.Redis, state: VisitorState
) -> None:
    state.apply(
        [
            ("1-0", event("e1", at=NOW - WEEK), "tools"),
            ("2-0", event("e2", at=NOW - 86_400), "toys"),
        ],
        NOW,
    )
    assert client.zcard("views:1") == 2
    state.apply(
        [("3-0", event("e3", at=NOW), "books")], NOW + 1
    )  # the first of them is older than seven days by now
    assert client.zrange("views:1", 0, -1) == [b"e2\x1fa\x1ftoys", b"e3\x1fa\x1fbooks"]
    for key in ("views:1", "updates:1"):
        assert WEEK < client.ttl(key) <= WEEK + 86_400


def test_only_the_newest_clicks_are_kept(client: redis.Redis, state: VisitorState) -> None:
    count = RECENT_CLICKS + 30
    state.apply(
        [
            (f"{n}-0", event(f"e{n}", f"i{n}", at=NOW - 2 * count + n), f"c{n}")
            for n in range(count)
        ],
        NOW,
    )
    (row,) = state.recent_clicks(["1"], NOW)
    assert row.categories == [f"c{n}" for n in range(30, count)]
    assert row.items == [f"i{n}" for n in range(30, count)]
    assert client.zcard("views:1") == RECENT_CLICKS == 200
    state.apply(
        [("900-0", event("late", at=NOW - 3 * count), "late")], NOW
    )  # older than all that are kept
    assert state.recent_clicks(["1"], NOW)[0].categories == row.categories


def test_of_two_updates_within_a_second_the_later_is_newer(state: VisitorState) -> None:
    state.apply([("1-0", event("e1"), "books")], NOW)
    (first,) = state.recent_clicks(["1"], NOW)
    state.apply(
        [("2-0", event("e2", "c", at=NOW - 5), "tools"), ("3-0", event("e3", "c"), "tools")], NOW
    )
    (second,) = state.recent_clicks(["1"], NOW)
    assert (first.categories, second.categories) == (["books"], ["tools", "books", "tools"])
    assert (
        int(first.updated_at) == int(second.updated_at) == NOW
        and second.updated_at > first.updated_at
    )


def test_recent_items_are_unique_and_trimmed(client: redis.Redis, state: VisitorState) -> None:
    state.apply([(f"{n}-0", event(f"e{n}", f"i{n}"), "books") for n in range(1, 121)], NOW)
    state.apply([("200-0", event("again", "i60"), "books")], NOW)
    recent = client.lrange("recent:1", 0, -1)
    assert len(recent) == len(set(recent)) == 100 and recent[:2] == [b"i60", b"i120"]


def test_one_visitors_broken_key_does_not_stop_the_others(
    client: redis.Redis, state: VisitorState
) -> None:
    client.set("views:1", "not a sorted set")
    broken, whole = state.apply(
        [("1-0", event("e1"), "books"), ("2-0", event("e2", user_id="2"), "books")], NOW
    )
    assert isinstance(broken, redis.ResponseError) and whole is Outcome.APPLIED
    assert [row.user_id for row in state.recent_clicks(["1", "2"], NOW)] == ["2"]


def test_a_full_store_is_an_error_not_a_loss(client: redis.Redis, state: VisitorState) -> None:
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.RedisError, match=r"OOM|maxmemory"):
            state.apply([("1-0", event("e1"), "books")], NOW)
    finally:
        client.config_set("maxmemory", 0)
    assert state.apply([("1-0", event("e1"), "books")], NOW) == [Outcome.APPLIED]


def test_a_reset_survives_the_stream(client: redis.Redis) -> None:
    client.xadd("events", reset_fields("ü|1", "r1"))
    ((_, fields),) = client.xrange("events")
    assert fields == {b"command": b"reset", b"user_id": "ü|1".encode(), b"event_id": b"r1"}
    assert parse_entry(fields) == Reset(user_id="ü|1", event_id="r1")
    assert reset_fields("u")["event_id"] != reset_fields("u")["event_id"]
    for wrong in ({b"command": b"forget"}, {b"item_id": b"a"}, {b"user_id": b""}):
        with pytest.raises(ValidationError):
            parse_entry({**fields, **wrong})


def test_a_reset_forgets_all_but_one_visitor_once(client: redis.Redis, state: VisitorState) -> None:
    for day in range(8):
        state.apply(
            [
                (f"{day}-0", event(f"e{day}", f"i{day}", NOW - day * 86_400), "books"),
                (
                    f"{day}-1",
                    event(f"o{day}", f"i{day}", NOW - day * 86_400, user_id="zwei"),
                    "books",
                ),
            ],
            NOW,
        )
    state.apply(
        [("8-0", event("tomorrow", at=NOW + 86_400), "books")], NOW
    )  # by the visitor's own clock
    # what is popular now holds no visitor
    others = {
        key: value
        for key, value in everything(client).items()
        if b":zwei" in key or key.startswith(b"popular_now:")
    }
    client.set("recent:1", "another type")
    outcome, row = state.reset("9-0", Reset(user_id="1", event_id="r"), NOW)
    assert outcome is Outcome.APPLIED and row == RecentClicks("1", [], [], [], NOW + 86_401, True)
    left = everything(client)
    assert {key for key in left if not key.startswith(b"event:")} - set(others) == {b"reset:1"}
    assert {key: left[key] for key in others} == others and WEEK < client.ttl(
        "reset:1"
    ) <= WEEK + 86_400

    state.apply([("10-0", event("after", "b", NOW + 5), "tools")], NOW)
    assert state.reset("9-0", Reset(user_id="1", event_id="r"), NOW) == (Outcome.REDELIVERED, row)
    assert state.reset("11-0", Reset(user_id="1", event_id="r"), NOW)[0] is Outcome.DUPLICATE
    (after,) = state.recent_clicks(["1"], NOW + 6)
    assert (after.categories, after.items, after.timestamps, after.whole) == (
        ["tools"],
        ["b"],
        [NOW + 5],
        True,
    )
    assert after.updated_at > row.updated_at  # though its own clock says less
    assert not state.recent_clicks(["zwei"], NOW)[0].whole


def test_of_two_resets_the_later_is_newer(state: VisitorState) -> None:
    first, second = (state.reset(f"{n}-0", Reset(user_id="1"), NOW)[1] for n in range(2))
    assert first.updated_at == NOW + 1 and second.updated_at == NOW + 2


def test_a_reset_of_a_full_store_changes_nothing(client: redis.Redis, state: VisitorState) -> None:
    state.apply([("1-0", event("e1"), "books")], NOW)
    before = everything(client)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.RedisError, match=r"OOM|maxmemory"):
            state.reset("2-0", Reset(user_id="1"), NOW)
    finally:
        client.config_set("maxmemory", 0)
    assert everything(client) == before
