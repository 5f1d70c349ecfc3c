"""Valkey while serving: clients with a time limit on every call, and a breaker that spares visitors
a dead store.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import redis

from recsys_assets.lib.feature_store.valkey import STORE_ERRORS

T = TypeVar("T")


class StoreUnavailable(RuntimeError):
    """The store did not answer, or was not asked because the breaker is open; serve without it."""


def argument(value: bytes) -> bytes:
    r"""An argument of a command as it goes over the wire.

    >>> command(b"GET", 1) + argument(b"k")
    b'*2\r\n$3\r\nGET\r\n$1\r\nk\r\n'
    """
    return b"$%d\r\n%b\r\n" % (len(value), value)


def command(name: bytes, arguments: int) -> bytes:
    """What goes over the wire before that many arguments of a command."""
    return b"*%d\r\n%b" % (1 + arguments, argument(name))


class Lines:
    """A client's connections for calls in two halves: between ``send`` and ``read`` others may use
    the time.

    A connection serves one call at a time. Idle ones stay out of the client's own pool, whose
    counting and checking costs 50 µs a call; closing the client closes them too. Threads may share
    an instance.

    Args:
        client: of one server; its own retries do not apply.
    """

    def __init__(self, client: redis.Redis):
        self._pool = client.connection_pool
        self._idle: list[redis.Connection] = []

    def send(self, commands: bytes, count: int) -> Replies:
        """Send commands together.

        Args:
            commands: as they go over the wire (``command``). count: how many they are.

        Raises:
            redis.RedisError, OSError: no connection within the client's limit, or it broke.
        """
        connection = self._take()
        try:
            connection.send_packed_command((commands,))
        except BaseException:
            self.close(connection)
            raise
        return Replies(self, connection, count)

    def keep(self, connection: redis.Connection) -> None:
        """Take back a connection all of whose replies were read."""
        self._idle.append(connection)

    def close(self, connection: redis.Connection) -> None:
        """Close a connection that may not be used as it is; the pool opens it anew."""
        connection.disconnect()
        self._pool.release(connection)

    def _take(self) -> redis.Connection:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._pool.get_connection()
            if _is_quiet(connection):
                return connection
            self.close(connection)


def _is_quiet(connection: redis.Connection) -> bool:
    """Whether it is of this process, and nothing came on it since: no goodbye of the server, no
    reply to nobody.
    """
    if connection.pid != os.getpid():
        return False
    # redis-py declares the socket as None alone
    opened = cast("socket.socket | None", connection._sock)
    has_data = getattr(getattr(connection._parser, "_reader", None), "has_data", None)
    if (
        type(opened) is socket.socket and has_data is not None
    ):  # without TLS: what ``can_read`` finds, 7 µs sooner
        poll = select.poll()
        poll.register(opened, select.POLLIN)
        return not (has_data() or poll.poll(0))
    try:
        return not connection.can_read(0)
    except STORE_ERRORS:
        return False


class Replies:
    """To commands that were sent: ``read`` them once, or ``drop`` them."""

    __slots__ = ("_connection", "_count", "_lines")

    def __init__(self, lines: Lines, connection: redis.Connection, count: int):
        self._lines, self._count = lines, count
        self._connection: redis.Connection | None = connection

    def read(self) -> list[Any]:
        """One reply a command; where the server refused one, its redis.ResponseError.

        Raises:
            redis.RedisError, OSError: a reply did not come within the client's limit. The
                connection is closed then, so that no later call reads a late reply as its own.
        """
        connection = self._connection
        if connection is None:
            raise RuntimeError("replies are read once, and not after they were dropped")
        try:
            replies = [_reply(connection) for _ in range(self._count)]
        except BaseException:
            self.drop()
            raise
        self._connection = None
        self._lines.keep(connection)
        return replies

    def drop(self) -> None:
        """Close the connection, unless every reply was read: what comes on it belongs to nobody
        else.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            self._lines.close(connection)


def _reply(connection: redis.Connection) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:  # of this command alone; the next reply follows
        return error


@dataclass(frozen=True)
class Asked:
    """What a stage's first half asked a store: about which visitors, and the replies to come; None
    where none will.
    """

    visitors: list[str]
    replies: Replies | None

    def drop(self) -> None:
        if self.replies is not None:
            self.replies.drop()


class Breaker:
    """Opens after consecutive errors, refuses for a while, then lets one call try (half-open).

    Args:
        errors: exception types that count; others pass through untouched.
        threshold: consecutive errors that open it.
        open_seconds: for how long it refuses before the next trial.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        errors: tuple[type[Exception], ...] = STORE_ERRORS,
        threshold: int = 3,
        open_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        if threshold < 1 or open_seconds <= 0:
            raise ValueError(
                f"threshold must be ≥ 1 and open_seconds > 0, got {threshold} and {open_seconds}"
            )
        self._errors, self._threshold, self._open_seconds, self._clock = (
            errors,
            threshold,
            open_seconds,
            clock,
        )
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
        self._admit()
        return self.finish(function)

    def begin(self, send: Callable[[], T]) -> T:
        """Run the first half of a call, whose second half goes to ``finish``, or is given up.

        Raises:
            StoreUnavailable: as ``call``; the call is counted, and has no second half.
        """
        self._admit()
        return self._guarded(send)

    def finish(self, read: Callable[[], T]) -> T:
        """Run the second half of a call that ``begin`` let pass, whatever others found meanwhile.

        Raises:
            StoreUnavailable: it failed.
        """
        result = self._guarded(read)
        if self._failures:
            with self._lock:
                self._failures = 0
        return result

    def _admit(self) -> None:
        with self._lock:
            if self.is_open:
                if self._clock() < self._refuse_until:
                    raise StoreUnavailable(f"not asked: {self._failures} consecutive errors")
                self._refuse_until = (
                    self._clock() + self._open_seconds
                )  # others wait while this one tries

    def _guarded(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except self._errors as error:
            with self._lock:
                self._failures += 1
                self._refuse_until = self._clock() + self._open_seconds
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
