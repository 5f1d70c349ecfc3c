"""Valkey dies, hangs, is slow, is full or holds nonsense: every answer is a full list all the same,
and normal again afterwards.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from recsys_assets.lib.feature_store import bloom
from recsys_assets.local_time import UTC
from recsys_assets.serving.events.visitor_state import recent_key, updates_key, views_key
from recsys_assets.settings import FEAST_DATABASE, VISITOR_DATABASE
from recsys_assets_tests.support.stack import Stack, eventually, faults
from recsys_assets_tests.support.tiny_payload import ITEM_IDS

pytestmark = pytest.mark.services
WITHOUT_VALKEY = {"user_features_unavailable", "seen_filter_unavailable"}


def test_valkey_killed_in_the_middle_of_requests(stack: Stack) -> None:
    running = {part: stack.process(part).pid for part in ("triton", "gateway", "consumer")}
    with stack.stream() as asked:
        eventually(lambda: len(asked) > 30, "requests before the outage")
        stack.kill("valkey")
        killed = time.monotonic()
        time.sleep(4)
        before_return = time.monotonic()
        stack.up("valkey")
        eventually(
            lambda: asked[-1].body and not asked[-1].body["degraded"],
            "normal answers after the outage",
        )
        since = len(asked)
        eventually(lambda: len(asked) > since + 30, "requests after the outage")
    assert faults(asked) == []
    without = [one for one in asked if one.sent > killed and one.done < before_return]
    assert len(without) > 10 and all(
        one.body["degraded"] and set(one.body["reasons"]) == WITHOUT_VALKEY for one in without
    )
    assert {one.body["release"]["ranker"] for one in asked} == {
        9
    }  # never popular items in the ranking's place
    assert {part: stack.process(part).pid for part in running} == running
    stack.see("after-the-outage", ITEM_IDS[:1])  # the consumer goes on by itself, too


def test_events_of_an_outage_are_refused_and_counted_once_when_sent_again(stack: Stack) -> None:
    event = {"user_id": "patient", "item_id": ITEM_IDS[3], "event_id": "of-the-outage"}
    stack.kill("valkey")
    answer = stack.http.post("/events", json=event)
    assert (
        answer.status_code == 503
        and "same event_id" in answer.json()["error"]["message"]
        and answer.headers["retry-after"]
    )
    stack.up("valkey")
    eventually(
        lambda: stack.http.post("/events", json=event).status_code == 202, "the event is taken"
    )
    stack.applied(["of-the-outage"])
    eventually(
        lambda: ITEM_IDS[3] not in stack.ids("patient", top_k=40), "the seen item is left out"
    )


def connections(stack: Stack) -> int:
    with stack.valkey(0) as client:
        return client.info("stats")["total_connections_received"]


def test_a_hanging_valkey_is_left_alone_until_it_answers(stack: Stack) -> None:
    before = connections(stack)
    with stack.stopped(stack.process("valkey")):
        asked = stack.many(400)
    assert faults(asked) == []
    # each call that ran out of time costs a connection; without breakers there were two a request
    attempts = connections(stack) - before
    assert sum(one.body["degraded"] for one in asked) > 300 and attempts < 200
    stack.normal("user-1")


@contextmanager
def slow(process: psutil.Process, seconds: float) -> Iterator[None]:
    """The process stands still for so long again and again, and works for a moment in between."""
    over = threading.Event()

    def hinder() -> None:
        while not over.is_set():
            process.suspend()
            over.wait(seconds)
            process.resume()
            time.sleep(0.005)

    thread = threading.Thread(target=hinder)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_slow_valkey(stack: Stack) -> None:
    with slow(stack.process("valkey"), 0.2):
        asked = stack.many(200)
    assert faults(asked) == [] and any(one.body["degraded"] for one in asked)
    stack.normal("user-1")


def test_values_of_another_type_under_every_key_of_a_visitor(stack: Stack) -> None:
    visitor = "user-4"
    stack.see(visitor, ITEM_IDS[:2])
    with stack.valkey(VISITOR_DATABASE) as client, stack.valkey(FEAST_DATABASE) as feast:
        today = bloom.day_of(float(client.time()[0]), UTC)
        for key in (
            bloom.seen_key(visitor, today),
            recent_key(visitor),
            views_key(visitor),
            updates_key(visitor),
        ):
            client.delete(key)
            client.geoadd(key, (1.0, 2.0, "nonsense"))
        (of_feast,) = [key for key in feast.scan_iter(count=1_000) if visitor.encode() in key]
        feast.delete(of_feast)
        feast.set(of_feast, "nonsense")
        assert faults(stack.many(12, lambda n: visitor)) == []
        assert stack.ask(visitor).body["degraded"]
        sent = stack.http.post("/events", json={"user_id": visitor, "item_id": ITEM_IDS[5]})
        assert sent.status_code == 202
        stack.see("user-5", ITEM_IDS[:1])  # the consumer is not held up by it
        stack.normal("user-1")
        for key in (
            bloom.seen_key(visitor, today),
            recent_key(visitor),
            views_key(visitor),
            updates_key(visitor),
        ):
            client.delete(key)
        feast.delete(of_feast)
    stack.normal(visitor)


def test_valkey_out_of_memory(stack: Stack) -> None:
    event = {"user_id": "hungry", "item_id": ITEM_IDS[3], "event_id": "while-full"}
    with stack.valkey(0) as client:
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        client.config_set("maxmemory", 1)
        assert faults(stack.many(40)) == []
        assert stack.http.post("/events", json=event).status_code == 503
        client.config_set("maxmemory", 0)
    assert stack.http.post("/events", json=event).status_code == 202
    stack.applied(["while-full"])
    eventually(
        lambda: ITEM_IDS[3] not in stack.ids("hungry", top_k=40), "the seen item is left out"
    )
