from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.serving.stores.connections import (
    Breaker,
    Lines,
    StoreUnavailable,
    argument,
    command,
)
from recsys_assets.settings import VISITOR_DATABASE, Settings
from recsys_assets_tests.support.silent_server import SilentServer


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


def test_a_caller_that_reports_itself_tries_once_after_a_while(clock):
    breaker = Breaker(threshold=3, open_seconds=1.0, clock=clock)
    for _ in range(2):
        breaker.failed()
    assert not breaker.refuses()
    breaker.failed()
    assert breaker.refuses()
    clock.now += 1
    assert [breaker.refuses() for _ in range(3)] == [False, True, True]
    breaker.failed()
    assert breaker.refuses()
    clock.now += 1
    assert not breaker.refuses()
    breaker.answered()
    assert not any(breaker.refuses() for _ in range(3))


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
        client = visitor_client(
            Settings(home=tmp_path, valkey_port=server.port, store_timeout_ms=20), VISITOR_DATABASE
        )
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
    settings = Settings(
        home=tmp_path, valkey_port=valkey.port, valkey_password="geheim", store_timeout_ms=1_000
    )
    admin = valkey.client()
    admin.config_set("requirepass", "geheim")
    try:
        assert visitor_client(settings, VISITOR_DATABASE).ping()
        with pytest.raises(redis.AuthenticationError):
            visitor_client(
                settings.model_copy(update={"valkey_password": None}), VISITOR_DATABASE
            ).ping()
    finally:
        admin.config_set("requirepass", "")


def wire(*arguments: str | int) -> bytes:
    name, *others = [str(one).encode() for one in arguments]
    return command(name, len(others)) + b"".join(map(argument, others))


def gets(*keys: str) -> tuple[bytes, int]:
    return b"".join(wire("GET", key) for key in keys), len(keys)


@pytest.fixture(params=["hiredis", "python"])
def client(valkey, tmp_path, request) -> redis.Redis:
    """With each of redis-py's parsers: they keep what came too early at different places."""
    made = visitor_client(
        Settings(home=tmp_path, valkey_port=valkey.port, store_timeout_ms=1_000), VISITOR_DATABASE
    )
    if request.param == "python":
        made.connection_pool.connection_kwargs["parser_class"] = redis._parsers._RESP2Parser
    return made


@pytest.fixture
def lines(client) -> Lines:
    return Lines(client)


def test_each_command_gets_its_reply(lines, client):
    commands = [
        wire("SET", "a", "ü"),
        wire("RPUSH", "b", 1, 2),
        wire("GET", "b"),
        wire("GET", "a"),
        wire("GET", "none"),
        wire("NONSENSE"),
    ]
    replies = lines.send(b"".join(commands), len(commands)).read()
    assert replies[:2] == [b"OK", 2] and replies[3:5] == ["ü".encode(), None]
    assert "WRONGTYPE" in str(replies[2]) and isinstance(replies[2], redis.ResponseError)
    assert isinstance(replies[5], redis.ResponseError)
    assert lines.send(*gets("a")).read() == ["ü".encode()]  # the same connection is still in step
    assert client.connection_pool.get_connection_count()[1][0] == 1


def test_calls_under_way_have_a_connection_each_and_later_ones_share_them(lines, valkey):
    direct = valkey.client(VISITOR_DATABASE)
    for n in range(9):
        direct.set(f"key-{n}", n)
    connected = direct.info("stats")["total_connections_received"]
    for _ in range(3):
        under_way = [lines.send(*gets(f"key-{n}", f"key-{n + 1}")) for n in range(8)]
        assert [replies.read() for replies in reversed(under_way)] == [
            [b"%d" % n, b"%d" % (n + 1)] for n in reversed(range(8))
        ]
    assert direct.info("stats")["total_connections_received"] - connected == 8


def test_replies_that_nobody_reads_are_nobody_elses(lines, valkey):
    direct = valkey.client(VISITOR_DATABASE)
    direct.mset({"mine": "1", "yours": "2"})
    for _ in range(5):
        given_up = lines.send(*gets("mine", "mine"))
        given_up.drop()
        given_up.drop()  # changes nothing
        with pytest.raises(RuntimeError, match="read once"):
            given_up.read()
        assert lines.send(*gets("yours")).read() == [b"2"]
    assert len(lines._idle) == 1


def test_a_connection_that_says_something_unasked_is_not_used(lines, valkey):
    valkey.client(VISITOR_DATABASE).mset({"mine": "1", "yours": "2"})
    replies = lines.send(*gets("mine", "mine"))
    replies._count = 1  # as if the server had answered once too often
    assert replies.read() == [b"1"]
    assert lines.send(*gets("yours")).read() == [b"2"]


def test_a_store_that_dies_between_the_two_halves_fails_that_call_alone(lines, valkey):
    lines.send(*gets("x")).read()
    valkey.hang()
    replies = lines.send(*gets("x"))
    valkey.kill()
    with pytest.raises((redis.RedisError, OSError)):
        replies.read()
    with pytest.raises((redis.RedisError, OSError)):
        lines.send(*gets("x"))
    valkey.start()
    valkey.client(VISITOR_DATABASE).set("x", 1)
    assert lines.send(*gets("x")).read() == [b"1"]


def test_a_restart_or_a_closed_connection_is_noticed_before_a_call(lines, client, valkey):
    direct = valkey.client(VISITOR_DATABASE)
    direct.set("x", 1)
    for end in (
        lambda: direct.client_kill_filter(_type="normal", skipme=True),
        client.connection_pool.disconnect,
        client.close,
    ):
        assert lines.send(*gets("x")).read() == [b"1"]
        end()
        assert lines.send(*gets("x")).read() == [b"1"]
    valkey.kill()
    valkey.start()
    valkey.client(VISITOR_DATABASE).set("x", 1)  # on a busy disk, a kill may lose the last write
    assert lines.send(*gets("x")).read() == [b"1"]


def test_connections_are_not_shared_with_a_child(lines, valkey):
    """Two processes that read from one connection would read each other's replies."""
    direct = valkey.client(VISITOR_DATABASE)
    direct.mset({"parent": "1", "child": "2"})
    assert lines.send(*gets("parent")).read() == [b"1"]
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write_end, b"".join(lines.send(*gets("child")).read()[0] for _ in range(3)))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read_end, 9) == b"222" and lines.send(*gets("parent")).read() == [b"1"]
    os.close(read_end)
    os.close(write_end)


def test_threads_share_lines(lines, valkey):
    direct = valkey.client(VISITOR_DATABASE)
    direct.mset({f"key-{n}": n for n in range(200)})
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: lines.send(*gets(f"key-{n % 200}")).read(), range(2_000)))
    assert found == [[b"%d" % (n % 200)] for n in range(2_000)]
    assert len(lines._idle) <= 8


def test_a_call_in_two_halves_counts_once(clock):
    breaker = Breaker(threshold=3, open_seconds=1.0, clock=clock)
    for _ in range(2):  # a store that hangs takes what is sent, and answers nothing
        assert breaker.begin(lambda: 7) == 7
        with pytest.raises(StoreUnavailable, match="gone"):
            breaker.finish(fail)
    with pytest.raises(StoreUnavailable, match="gone"):
        breaker.begin(fail)
    assert breaker.is_open
    with pytest.raises(StoreUnavailable, match="not asked: 3 consecutive errors"):
        breaker.begin(lambda: pytest.fail("the store was asked"))
    clock.now += 1.0
    breaker.begin(lambda: None)
    assert refuses(breaker)  # one tries, and its first half says nothing yet
    assert breaker.finish(lambda: 8) == 8 and not breaker.is_open


def test_a_call_that_is_given_up_counts_as_nothing(clock, open_breaker):
    clock.now += 1.0
    open_breaker.begin(lambda: None)
    assert open_breaker.is_open and refuses(open_breaker)
    clock.now += 1.0
    assert open_breaker.call(lambda: 7) == 7  # the next one tries
    for _ in range(9):
        open_breaker.begin(lambda: None)
    assert not open_breaker.is_open
