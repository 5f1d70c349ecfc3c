"""Valkey while serving: clients with a time limit on every call, and a breaker that spares visitors a dead store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recsys_assets.settings import Settings

T = TypeVar("T")

#: What a store call raises when the store is down, hangs, is full or holds a value of another type.
STORE_ERRORS: tuple[type[Exception], ...] = (redis.RedisError, OSError)


class StoreUnavailable(RuntimeError):
    """The store did not answer, or was not asked because the breaker is open; serve without it."""


def visitor_client(settings: Settings, database: int, *, timeout_ms: int | None = None) -> redis.Redis:
    """A client whose connects and reads each end after a limit, without retries; values are bytes.

    The limit is ``settings.store_timeout_ms``; ``timeout_ms`` replaces it for bulk work outside a request.
    """
    limit = (settings.store_timeout_ms if timeout_ms is None else timeout_ms) / 1_000
    password = settings.valkey_password.get_secret_value() if settings.valkey_password else None
    # redis-py's own default is 3 retries with pauses of seconds: far beyond a visitor's patience
    return redis.Redis(host=settings.valkey_host, port=settings.valkey_port, db=database, password=password,
                       ssl=settings.valkey_tls, socket_timeout=limit, socket_connect_timeout=limit,
                       retry=Retry(NoBackoff(), 0))


def round_trip(client: redis.Redis, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """Send commands together and read their replies: what redis-py's pipeline does, without what it costs beside.

    Args:
        client: of one server; its own retries do not apply.
        commands: each its name and arguments.

    Returns:
        One reply a command; where the server refused one, its redis.ResponseError.

    Raises:
        redis.RedisError, OSError: no connection, or a reply did not come within the client's limit. The connection is
            closed then, so that no later call reads a late reply as its own.
    """
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command(connection.pack_commands(commands))
        return [_reply(connection) for _ in commands]
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _reply(connection: redis.Connection) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:  # of this command alone; the next reply follows
        return error


class Breaker:
    """Opens after consecutive errors, refuses for a while, then lets one call try (half-open).

    Args:
        errors: exception types that count; others pass through untouched.
        threshold: consecutive errors that open it.
        open_seconds: for how long it refuses before the next trial.
        clock: monotonic seconds.
    """

    def __init__(self, errors: tuple[type[Exception], ...] = STORE_ERRORS, threshold: int = 3,
                 open_seconds: float = 1.0, clock: Callable[[], float] = time.monotonic):
        if threshold < 1 or open_seconds <= 0:
            raise ValueError(f"threshold must be ≥ 1 and open_seconds > 0, got {threshold} and {open_seconds}")
        self._errors, self._threshold, self._open_seconds, self._clock = errors, threshold, open_seconds, clock
        self._lock = threading.Lock()
        self._failures = 0
        self._refuse_until = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self._threshold

    def call(self, function: Callable[[], T]) -> T:
        """Run a store call.

        Raises:
            StoreUnavailable: it failed, or the breaker is open.
        """
        with self._lock:
            if self.is_open:
                if self._clock() < self._refuse_until:
                    raise StoreUnavailable(f"not asked: {self._failures} consecutive errors")
                self._refuse_until = self._clock() + self._open_seconds  # others wait while this one tries
        try:
            result = function()
        except self._errors as error:
            with self._lock:
                self._failures += 1
                self._refuse_until = self._clock() + self._open_seconds
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        with self._lock:
            self._failures = 0
        return result
