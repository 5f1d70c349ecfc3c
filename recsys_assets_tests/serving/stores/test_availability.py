from __future__ import annotations

import asyncio
import time

import pytest
import redis
from redis import asyncio as redis_asyncio

from recsys_assets.serving.stores import availability
from recsys_assets.serving.stores.availability import (
    UNAVAILABLE,
    VERSION,
    Unavailable,
    availability_commands,
    set_availability,
)
from recsys_assets.serving.stores.connections import StoreUnavailable
from recsys_assets.serving.stores.poller import Poller
from recsys_assets.settings import POPULARITY_DATABASE, Settings
from recsys_assets_tests.support import tiny_store

pytestmark = pytest.mark.services


@pytest.fixture
def settings(valkey, tmp_path) -> Settings:
    return tiny_store.settings_on(tmp_path, valkey)


@pytest.fixture
def client(valkey) -> redis.Redis:
    return valkey.client(POPULARITY_DATABASE)


def test_changes_are_read_whole_and_counted(settings, client):
    unavailable = Unavailable(settings)
    assert not unavailable.known and unavailable.age_seconds is None
    unavailable.poll()
    assert unavailable.known and unavailable.statuses == {} and unavailable.age_seconds < 5
    assert set_availability(client, {"a": "out_of_stock", "ü:1": "hidden", "c": "available"}) == 1
    assert unavailable.statuses == {}
    before = unavailable.statuses
    unavailable.poll()
    assert unavailable.statuses == {"a": "out_of_stock", "ü:1": "hidden"} and before == {}
    assert set_availability(client, {"a": "available", "ü:1": "out_of_stock"}) == 2
    unavailable.poll()
    assert unavailable.statuses == {"ü:1": "out_of_stock"}
    with pytest.raises(TypeError):
        unavailable.statuses["x"] = "hidden"


def test_nothing_is_read_while_nothing_changes(settings, client):
    unavailable = Unavailable(settings)
    set_availability(client, {"a": "hidden"})
    unavailable.poll()
    client.hset(UNAVAILABLE, "b", "hidden")  # behind the counter's back
    unavailable.poll()
    assert unavailable.statuses == {"a": "hidden"}
    assert set_availability(client, {}) == 2
    unavailable.poll()
    assert unavailable.statuses == {"a": "hidden", "b": "hidden"}


def test_thousands_are_read_in_steps(settings, client):
    changes = {f"item-{n}": ("hidden", "out_of_stock")[n % 2] for n in range(3_000)}
    set_availability(client, changes)
    unavailable = Unavailable(settings)
    unavailable.poll()
    assert unavailable.statuses == changes


def test_a_hash_that_changes_while_it_is_read_is_read_again(settings, client, monkeypatch):
    set_availability(client, {"a": "hidden"})
    unavailable, whole, reads = Unavailable(settings), Unavailable._statuses, []

    def meanwhile(self):
        found = whole(self)
        if not reads:
            set_availability(client, {"b": "hidden"})
        reads.append(found)
        return found

    monkeypatch.setattr(Unavailable, "_statuses", meanwhile)
    unavailable.poll()
    assert len(reads) == 2 and unavailable.statuses == {"a": "hidden", "b": "hidden"}


def test_the_gateway_queues_the_same_on_its_asynchronous_client(valkey, settings):
    async def change() -> None:
        async with (
            redis_asyncio.Redis(port=valkey.port, db=POPULARITY_DATABASE) as client,
            client.pipeline(transaction=True) as pipeline,
        ):
            availability_commands(pipeline, {"a": "hidden", "b": "available"})
            await pipeline.execute()

    asyncio.run(change())
    unavailable = Unavailable(settings)
    unavailable.poll()
    assert unavailable.statuses == {"a": "hidden"}


def test_a_state_that_is_none_changes_nothing(client):
    with pytest.raises(
        ValueError, match="'b' must be one of available, out_of_stock, hidden, got 'sold'"
    ):
        set_availability(client, {"a": "hidden", "b": "sold"})
    assert client.dbsize() == 0


def test_an_outage_forgets_nothing(settings, client, valkey):
    set_availability(client, {"a": "hidden"})
    unavailable = Unavailable(settings)
    unavailable.poll()
    valkey.kill()
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            unavailable.poll()
    assert unavailable.known and unavailable.statuses == {"a": "hidden"}
    valkey.start()
    set_availability(valkey.client(POPULARITY_DATABASE), {"a": "available"})
    deadline = time.monotonic() + 10
    while unavailable.statuses and time.monotonic() < deadline:
        time.sleep(0.1)
        try:
            unavailable.poll()
        except StoreUnavailable:
            continue
    assert unavailable.statuses == {}


@pytest.mark.parametrize("key", [UNAVAILABLE, VERSION])
def test_another_type_at_a_key_counts_as_an_absent_store(settings, client, key):
    set_availability(client, {"a": "hidden"})
    unavailable = Unavailable(settings)
    unavailable.poll()
    client.delete(key)
    client.rpush(key, "x")
    if key == UNAVAILABLE:
        client.incr(VERSION)
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        unavailable.poll()
    assert unavailable.statuses == {"a": "hidden"}
    client.delete(UNAVAILABLE, VERSION)
    unavailable.poll()
    assert unavailable.statuses == {}


def test_what_is_no_state_is_not_shown_either(settings, client):
    client.hset(UNAVAILABLE, mapping={"a": b"\xff", b"\xff": "hidden"})
    unavailable = Unavailable(settings)
    unavailable.poll()
    assert unavailable.statuses["a"] == availability.OUT_OF_STOCK and len(unavailable.statuses) == 2


def test_a_poller_goes_on_whatever_happens(caplog):
    calls = []

    def work(pause):
        calls.append(len(calls))
        if len(calls) in (2, 3):
            raise StoreUnavailable("gone")
        if len(calls) == 4:
            raise KeyError("a mistake")

    poller = Poller("test", work, seconds=0.01)
    assert poller.poll() and poller.refreshed_at > 0
    poller.start()
    deadline = time.monotonic() + 10
    while len(calls) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    poller.close()
    ended = len(calls)
    time.sleep(0.05)
    assert len(calls) == ended >= 6
    assert (
        [line.split(":")[0] for line in caplog.messages] == ["test", "test failed", "test"]
        and "gone" in caplog.text
        and "answers again" in caplog.text
    )
