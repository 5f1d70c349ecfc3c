from __future__ import annotations

import pytest
import redis

from recsys_assets.serving.stores import Breaker, StoreUnavailable, round_trip, visitor_client
from recsys_assets.settings import VISITOR_DATABASE, Settings
from recsys_assets_tests.serving.silent_server import SilentServer


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fail() -> None:
    raise redis.ConnectionError("gone")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_breaker(clock) -> Breaker:
    breaker = Breaker(threshold=3, open_seconds=1.0, clock=clock)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="ConnectionError: gone"):
            breaker.call(fail)
    return breaker


def refuses(breaker: Breaker) -> bool:
    try:
        breaker.call(lambda: None)
    except StoreUnavailable:
        return True
    return False


def test_opens_after_three_consecutive_errors_only(clock):
    breaker = Breaker(threshold=3, clock=clock)
    for _ in range(4):
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                breaker.call(fail)
        assert breaker.call(lambda: 7) == 7


def test_open_breaker_does_not_call(open_breaker, clock):
    clock.now += 0.99
    with pytest.raises(StoreUnavailable, match="not asked: 3 consecutive errors"):
        open_breaker.call(lambda: pytest.fail("the store was asked"))


def test_closes_after_a_trial_that_works(open_breaker, clock):
    clock.now += 1.0
    assert open_breaker.call(lambda: 7) == 7
    assert not open_breaker.is_open


def test_a_failed_trial_opens_it_again(open_breaker, clock):
    clock.now += 1.0
    with pytest.raises(StoreUnavailable, match="gone"):
        open_breaker.call(fail)
    clock.now += 0.5
    assert refuses(open_breaker)
    clock.now += 0.5
    assert not refuses(open_breaker)


def test_only_one_caller_tries_while_half_open(open_breaker, clock):
    clock.now += 1.0
    assert open_breaker.call(lambda: refuses(open_breaker)) is True


def test_programming_errors_pass_and_do_not_count(clock):
    breaker = Breaker(threshold=1, clock=clock)
    with pytest.raises(KeyError):
        breaker.call(lambda: {}["x"])
    assert not breaker.is_open


@pytest.mark.parametrize("wrong", [{"threshold": 0}, {"open_seconds": 0.0}])
def test_senseless_limits_are_refused(wrong):
    with pytest.raises(ValueError, match="threshold must be"):
        Breaker(**wrong)


def test_client_tries_once(tmp_path):
    with SilentServer() as server:
        client = visitor_client(Settings(home=tmp_path, valkey_port=server.port, store_timeout_ms=20), VISITOR_DATABASE)
        with pytest.raises(redis.TimeoutError):
            client.get("x")
        assert server.connections == 1


def test_client_reads_its_database_and_survives_a_restart(valkey, tmp_path):
    settings = Settings(home=tmp_path, valkey_port=valkey.port, store_timeout_ms=1_000)
    valkey.client(VISITOR_DATABASE).set("x", b"\xff\x00")
    client = visitor_client(settings, VISITOR_DATABASE)
    assert client.get("x") == b"\xff\x00"
    valkey.kill()
    with pytest.raises(redis.ConnectionError):
        client.get("x")
    valkey.start()
    assert client.get("x") == b"\xff\x00"
    assert visitor_client(settings, 0, timeout_ms=5_000).get("x") is None


def test_client_sends_the_password(valkey, tmp_path):
    settings = Settings(home=tmp_path, valkey_port=valkey.port, valkey_password="geheim", store_timeout_ms=1_000)
    admin = valkey.client()
    admin.config_set("requirepass", "geheim")
    try:
        assert visitor_client(settings, VISITOR_DATABASE).ping()
        with pytest.raises(redis.AuthenticationError):
            visitor_client(settings.model_copy(update={"valkey_password": None}), VISITOR_DATABASE).ping()
    finally:
        admin.config_set("requirepass", "")


def test_round_trip_gives_each_command_its_answer(valkey, tmp_path):
    client = visitor_client(Settings(home=tmp_path, valkey_port=valkey.port, store_timeout_ms=1_000), VISITOR_DATABASE)
    replies = round_trip(client, [("SET", "a", "ü"), ("RPUSH", "b", 1, 2), ("GET", "b"), ("GET", b"a"), ("GET", "none"), ("NONSENSE",)])
    assert replies[:2] == [b"OK", 2] and replies[3:5] == ["ü".encode(), None]
    assert "WRONGTYPE" in str(replies[2]) and isinstance(replies[2], redis.ResponseError)
    assert isinstance(replies[5], redis.ResponseError)
    assert round_trip(client, [("GET", "a")]) == ["ü".encode()]  # the same connection is still in step
    assert len(client.connection_pool._available_connections) == 1 and round_trip(client, []) == []
