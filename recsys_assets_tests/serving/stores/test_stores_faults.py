"""must-survive 7: a store that hangs, is slow, holds another type or is full. Each call is limited,
the breaker opens and closes.

The limit itself is seen by what the store was asked, not by a clock: an answer that comes after it
counts as none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis

from recsys_assets.lib.feature_store import bloom
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.lib.features.transforms import Transforms
from recsys_assets.local_time import UTC
from recsys_assets.serving.stages.answer import Degraded
from recsys_assets.serving.stages.item_lookup import FeastItemLookup
from recsys_assets.serving.stages.seen_items import FilterSeenItems
from recsys_assets.serving.stages.user_lookup import FeastUserLookup
from recsys_assets.serving.stores.availability import Unavailable, set_availability
from recsys_assets.serving.stores.connections import (
    Breaker,
    Lines,
    StoreUnavailable,
    argument,
    command,
)
from recsys_assets.serving.stores.item_table import ItemTable
from recsys_assets.serving.stores.online_features import READ_ERRORS, OnlineFeatures
from recsys_assets.settings import FEAST_DATABASE, POPULARITY_DATABASE, VISITOR_DATABASE
from recsys_assets_tests.support import stage_runs, tiny_store
from recsys_assets_tests.support.seen import mark_seen
from recsys_assets_tests.support.slow_proxy import SlowProxy
from recsys_assets_tests.support.tiny_payload import ITEM_IDS, items, transforms
from recsys_assets_tests.support.tiny_store import AS_OF

pytestmark = pytest.mark.services
LIMIT_MS = 100  # a busy test machine keeps it; 200 ms are beyond it
CANDIDATES = np.arange(3, 23, dtype=np.int32)


class Clock:
    """Of the breakers: a test lets their second pass."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def shop(tmp_path_factory, valkey_process):
    settings = tiny_store.settings_on(
        tmp_path_factory.mktemp("home"), valkey_process, store_timeout_ms=LIMIT_MS
    )
    return SimpleNamespace(
        settings=settings,
        store=tiny_store.apply_views(settings.model_copy(update={"store_timeout_ms": 2_000})),
    )


class Parts:
    """The stages that ask a store, on the way through a proxy."""

    def __init__(self, shop: SimpleNamespace, port: int):
        from recsys_assets.lib.feature_store.store import open_store

        settings = shop.settings.model_copy(update={"valkey_port": port})
        self.clock = Clock()
        store = open_store(settings, online_only=True, timeout_ms=LIMIT_MS)
        self.users = FeastUserLookup(
            OnlineFeatures(store, Breaker(READ_ERRORS, clock=self.clock)), 40.25, look_back_days=7
        )
        self.filter = FilterSeenItems(
            visitor_client(settings, VISITOR_DATABASE),
            Unavailable(settings),
            lambda: (),
            ITEM_IDS,
            np.arange(42, 22, -1),
            most=8,
            least=5,
            rule=DEFAULT_RULE,
            zone=UTC,
            clock=lambda: AS_OF,
            breaker=Breaker(clock=self.clock),
        )
        self.table = ItemTable(
            Transforms.from_dict(transforms()),
            ITEM_IDS,
            items(),
            OnlineFeatures.open(settings, LIMIT_MS),
        )
        self.items = FeastItemLookup(self.table)

    def user(self, user_id: str = "user-1") -> tuple[str, int]:
        found = stage_runs.run(
            self.users, visitor_id=np.array([user_id], object), context_timestamp=np.array([AS_OF])
        )
        return found["user_raw"][0, 1], int(found["user_degraded"][0])

    def seen(self, user_id: str = "user-1") -> tuple[int, int]:
        """How many of the candidates were seen, and filter_degraded."""
        found = stage_runs.run(
            self.filter,
            visitor_id=np.array([user_id], object),
            query_embedding=np.ones((1, 64), np.float32),
            union=CANDIDATES,
            union_score=np.ones(20, np.float32),
            union_counts=np.array([20], np.int32),
            union_by_sources=np.zeros(1, np.int32),
        )
        assert found["kept_counts"][0] == 8
        return int((found["considered_fate"] == 1).sum()), int(found["filter_degraded"][0])

    def price(self) -> float:
        return float(stage_runs.run(self.items, kept=np.array([4], np.int32))["item_numbers"][0, 0])


FINE, WITHOUT = (("M", 0), (3, 0)), (("-1", Degraded.USER_FEATURES), (0, Degraded.SEEN_FILTER))


@pytest.fixture
def parts(shop, valkey) -> Iterator[Parts]:
    tiny_store.write_users(shop.store)
    tiny_store.write_online(
        shop.store,
        "item_features",
        "item_id",
        {
            "item-01": {
                "category_l1": "tools",
                "category_l2": "style-7",
                "item_gender": "M",
                "price": 1.5,
            }
        },
    )
    mark_seen(valkey.client(VISITOR_DATABASE), "user-1", ITEM_IDS[:3], AS_OF, 30_000)
    set_availability(valkey.client(POPULARITY_DATABASE), {ITEM_IDS[5]: "hidden"})
    with SlowProxy(valkey.port) as proxy:
        made = Parts(shop, proxy.port)
        made.proxy = proxy
        made.filter.poller.poll()
        made.table.start()
        assert (made.user(), made.seen()) == FINE and made.price() == 1.5
        yield made
        made.table.close()


def answers(parts: Parts) -> tuple[Any, Any]:
    return parts.user(), parts.seen()


def opens_and_closes(parts: Parts, valkey: Any, end: Callable[[], None]) -> None:
    """While the fault lasts nobody fails, and from the fourth visitor on none asks; after it, all
    is as before.
    """
    for _ in range(3):
        assert answers(parts) == WITHOUT
    assert parts.users._features._breaker.is_open and parts.filter._breaker.is_open
    asked = parts.proxy.connections
    for _ in range(20):
        assert answers(parts) == WITHOUT
    assert parts.proxy.connections == asked
    parts.clock.now += 1.0
    assert answers(parts) == WITHOUT  # one trial, which fails
    end()
    assert answers(parts) == WITHOUT  # not asked yet
    parts.clock.now += 1.0
    eventually_fine(parts)
    assert not parts.users._features._breaker.is_open and not parts.filter._breaker.is_open
    assert parts.price() == 1.5


def eventually_fine(parts: Parts) -> None:
    deadline = time.monotonic() + 20
    while answers(parts) != FINE:
        assert time.monotonic() < deadline, answers(parts)
        parts.clock.now += 1.0


def test_a_store_that_hangs(parts, valkey):
    valkey.hang()
    try:
        opens_and_closes(parts, valkey, valkey.resume)
    finally:
        valkey.resume()


def test_a_store_that_is_slow(parts, valkey):
    """Each answer 200 ms late: the limit cuts it off, and none of the late ones is taken for
    another's.
    """
    parts.proxy.delay = 0.2

    def end() -> None:
        parts.proxy.delay = 0.0
        time.sleep(0.5)  # every late answer has come by now

    opens_and_closes(parts, valkey, end)
    assert parts.user("user-2") == ("F", 0) and parts.seen("user-2") == (0, 0)


def test_values_of_another_type(parts, valkey):
    feast, visitors = valkey.client(FEAST_DATABASE), valkey.client(VISITOR_DATABASE)
    (key,) = [key for key in feast.keys("*") if b"user-1" in key]
    seen_key = bloom.seen_key("user-1", bloom.day_of(AS_OF, UTC))
    with restored(feast, key), restored(visitors, seen_key):
        feast.set(key, "no hash")
        visitors.delete(seen_key)
        visitors.rpush(seen_key, "no text")
        assert (parts.user("user-2"), parts.seen("user-2")) == (("F", 0), (0, 0))
        for _ in range(3):
            assert answers(parts) == WITHOUT
            assert (parts.user("user-2"), parts.seen("user-2")) == (
                ("F", 0),
                (0, 0),
            )  # one visitor's keys open no breaker
        for _ in range(3):
            answers(parts)
        assert parts.users._features._breaker.is_open and parts.filter._breaker.is_open
    parts.clock.now += 1.0
    assert answers(parts) == FINE


@contextmanager
def restored(client: redis.Redis, key: str | bytes) -> Iterator[None]:
    dump = client.dump(key)
    yield
    client.restore(key, 0, dump, replace=True)


def test_a_full_store_is_read_all_the_same(parts, valkey):
    valkey.client().config_set("maxmemory", 1)
    try:
        assert parts.filter.poller.poll() and parts.table._poller.poll()
        assert answers(parts) == FINE and parts.price() == 1.5
        with pytest.raises(redis.RedisError, match=r"OOM|maxmemory"):
            set_availability(valkey.client(POPULARITY_DATABASE), {"item-00": "hidden"})
    finally:
        valkey.client().config_set("maxmemory", 0)


def test_polls_survive_what_requests_survive(parts, valkey):
    table, barred = parts.table.current, parts.filter._barred
    valkey.hang()
    try:
        assert not parts.filter.poller.poll() and not parts.table._poller.poll()
    finally:
        valkey.resume()
    assert parts.table.current is table and parts.filter._barred is barred


def test_a_late_answer_is_no_later_calls_answer(valkey, shop):
    """The connection that timed out is closed: what comes on it afterwards is read by nobody."""
    direct = valkey.client(VISITOR_DATABASE)
    for n in range(50):
        direct.set(f"key-{n}", n)
    with SlowProxy(valkey.port) as proxy:
        client = visitor_client(
            shop.settings.model_copy(update={"valkey_port": proxy.port}), VISITOR_DATABASE
        )
        lines = Lines(client)

        def values(*numbers: int) -> list[bytes]:
            keys = [argument(b"key-%d" % number) for number in numbers]
            return lines.send(b"".join(command(b"GET", 1) + key for key in keys), len(keys)).read()

        assert values(0, 1) == [b"0", b"1"]
        proxy.delay = 0.2
        for n in range(2, 5):
            with pytest.raises(redis.TimeoutError):
                values(n, n)
            with pytest.raises(redis.TimeoutError):
                client.get(f"key-{n}")
        proxy.delay = 0.0
        for n in range(5, 50):  # while the late answers arrive
            assert values(n, n - 1) == [b"%d" % n, b"%d" % (n - 1)]
            time.sleep(0.01)
    with pytest.raises(StoreUnavailable):
        Breaker().call(lambda: values(0))
