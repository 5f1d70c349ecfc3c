"""Worker: send requests at a fixed rate, whether or not earlier ones are answered.

This is an open loop. A request may be sent late because every connection still waits. Its latency
counts from the planned time, so a pause of the server shows in every request that was due during
the pause (no "coordinated omission", G. Tene).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Mapping
from typing import Any

from recsys_assets.bench.harness.client import AnswerRefused, read_response
from recsys_assets.bench.harness.requests import TOP_K
from recsys_assets.bench.harness.worker import Command, serve

#: Seconds for an answer.
LIMIT = 30.0
#: Status of a request that was sent and not answered, and of one without a connection.
CUT, REFUSED = -1, 0
#: Bits of the last column of a row.
DEGRADED, FULL = 1, 2


class Connection:
    """A connection that is kept alive and reopened if the server closes it.

    Args:
        address: host:port.
        source: address of this side; "" for any.
    """

    def __init__(self, address: str, source: str) -> None:
        host, port = address.rsplit(":", 1)
        self._address, self._source = (host, int(port)), source
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Return status and body; CUT or REFUSED and b"" without an answer."""
        try:
            connection = self.open()
        except OSError:
            return REFUSED, b""
        try:
            connection.sendall(request)
            return read_response(connection)
        except (OSError, AnswerRefused, StopIteration, ValueError):
            self.close()
            return CUT, b""

    def close(self) -> None:
        """Close the connection if it is open."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def open(self) -> socket.socket:
        """Return the open connection.

        Raises:
            OSError: the server accepts no connection.
        """
        if self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            # no answer is due, so readable means closed: a stopping server closes idle connections
            self.close()
        if self._socket is None:
            self._socket = socket.create_connection(
                self._address, LIMIT, (self._source, 0) if self._source else None
            )
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # a timeout in the kernel: Python's costs two more system calls per send and receive
            self._socket.settimeout(None)
            self._socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(LIMIT), 0)
            )
        return self._socket


def encode(address: str, body: Mapping[str, Any]) -> bytes:
    """Return the HTTP request of a body."""
    content = json.dumps({**body, "top_k": TOP_K}).encode()
    return (
        b"POST /recommend HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (address.encode(), len(content), content)
    )


def judge(status: int, content: bytes) -> int:
    """Return the bits DEGRADED and FULL of an answer."""
    if status != 200:
        return 0
    body = json.loads(content)
    ids = {item["item_id"] for item in body["items"]}
    return (DEGRADED if body["degraded"] else 0) | (FULL if len(ids) == TOP_K else 0)


def run(
    connections: list[Connection], requests: list[bytes], order: dict[str, Any]
) -> list[list[float]]:
    """Send requests from ``begin`` to ``end`` (monotonic seconds).

    Args:
        connections: one thread each.
        requests: encoded requests, sent in turn.
        order: ``begin``, ``end``, ``first`` (number of the first request) and ``interval`` (seconds
            between requests; 0: each connection sends when its last request is answered).

    Returns:
        Rows of [planned time, sent, answered, status, bits].
    """
    begin, end, interval, numbers = (
        order["begin"],
        order["end"],
        order["interval"],
        itertools.count(),
    )
    rows: list[list[float]] = []

    def visit(connection: Connection) -> None:
        while True:
            number = next(numbers)
            meant = begin + number * interval if interval else max(begin, time.monotonic())
            if meant >= end:
                return
            time.sleep(max(0.0, meant - time.monotonic()))
            sent = time.monotonic()
            status, content = connection.ask(requests[(order["first"] + number) % len(requests)])
            rows.append([meant, sent, time.monotonic(), status, judge(status, content)])
            if status == REFUSED:
                time.sleep(0.01)  # nothing listens: do not retry in a busy loop

    threads = [threading.Thread(target=visit, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rows


def make(request: dict[str, Any]) -> dict[str, Command]:
    """Open the connections and return the command ``run``.

    Args:
        request: ``address``, ``requests`` (bodies), ``sources`` (one per connection).
    """
    connections = [Connection(request["address"], source) for source in request["sources"]]
    requests = [encode(request["address"], body) for body in request["requests"]]
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.open()
    return {"run": lambda order: run(connections, requests, order)}


if __name__ == "__main__":
    serve(make)
