"""The list of what is popular now, read from a real Valkey that also fails."""

from __future__ import annotations

import time

import pytest
import redis

from recsys_assets.lib.feature_store.popular_now import period_key
from recsys_assets.lib.sources.forward_decay import period_of
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.union import LISTED
from recsys_assets.serving.stores.live_popularity import LivePopularity
from recsys_assets.settings import VISITOR_DATABASE, Settings
from recsys_assets_tests.support import tiny_store

pytestmark = pytest.mark.services

NOW = time.time()
KEY = period_key(3, period_of(NOW, 3))
SOURCE = PopularNow.of(3, [f"i{n}" for n in range(500)])


@pytest.fixture
def settings(valkey, tmp_path) -> Settings:
    return tiny_store.settings_on(tmp_path, valkey)


@pytest.fixture
def client(valkey) -> redis.Redis:
    return valkey.client(VISITOR_DATABASE)


@pytest.fixture
def live(settings):
    made = LivePopularity(settings, SOURCE, clock=lambda: NOW)
    yield made
    made.close()


def test_known_items_are_listed_best_first_and_equal_ones_by_row(client, live):
    assert live.poll() and live.lists[3].tolist() == [], "no click was counted yet"
    client.zadd(KEY, {"i7": 5.0, "i30": 9.0, "gone": 99.0, "i100": 5.0, "i21": 5.0})
    before = live.lists
    assert live.poll() and live.lists[3].tolist() == [30, 7, 21, 100]
    assert before[3].tolist() == [], "a list is replaced and never changed"
    assert list(live.lists) == [3]


def test_a_list_is_no_longer_than_what_a_source_lists(client, live):
    client.zadd(KEY, {f"i{n}": 1.0 + n for n in range(500)})
    live.poll()
    assert live.lists[3].tolist() == list(range(499, 499 - LISTED, -1))


def test_an_outage_keeps_the_last_list(valkey, client, live, caplog):
    client.zadd(KEY, {"i7": 5.0})
    assert live.poll()
    refreshed = live.refreshed_at
    valkey.kill()
    assert not live.poll() and not live.poll()
    assert live.lists[3].tolist() == [7] and live.refreshed_at == refreshed
    assert caplog.text.count("popular now: the store does not answer") == 1


def test_without_a_store_there_is_no_list(valkey, live):
    valkey.kill()
    assert not live.poll() and dict(live.lists) == {}


def test_a_key_of_another_type_keeps_the_last_list(client, live):
    client.zadd(KEY, {"i7": 5.0})
    live.poll()
    client.set(KEY, "no sorted set")
    assert not live.poll() and live.lists[3].tolist() == [7]


def test_the_thread_reads_again_and_again(client, live):
    live.start()
    assert live.lists[3].tolist() == []
    client.zadd(KEY, {"i7": 5.0})
    end = time.monotonic() + 20
    while not len(live.lists[3]):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_next_period_has_its_own_key(client, settings):
    clock = [NOW]
    live = LivePopularity(settings, SOURCE, clock=lambda: clock[0])
    client.zadd(KEY, {"i1": 5.0})
    client.zadd(period_key(3, period_of(NOW, 3) + 1), {"i2": 5.0})
    live.poll()
    assert live.lists[3].tolist() == [1]
    clock[0] += 256 * 3 * 3_600
    live.poll()
    assert live.lists[3].tolist() == [2]
    live.close()
