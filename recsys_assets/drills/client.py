"""Worker: visitors who come at their own pace, whether or not those before them have been answered
(an open loop).

A request that cannot be sent when it was meant to be, because every connection still waits, counts
from when it was meant to
be: so a pause of the server is seen by all who would have come meanwhile (no "coordinated
omission", G. Tene).
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
from typing import Any

from recsys_assets.bench.harness.client import AnswerRefused, read_response
from recsys_assets.bench.harness.requests import TOP_K
from recsys_assets.bench.harness.worker import Command, serve

#: Seconds for an answer. A request of which nothing came back, and one that no connection could be
#: made for.
LIMIT, CUT, REFUSED = 30.0, -1, 0
#: Bits of the last column.
DEGRADED, FULL = 1, 2


class Connection:
    """One kept alive, opened again where the server has closed it.

    Args:
        address: host:port. source: address that it comes from; "" for any.
    """

    def __init__(self, address: str, source: str):
        host, port = address.rsplit(":", 1)
        self._address, self._source = (host, int(port)), source
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body; CUT or REFUSED and nothing where there is no answer."""
        try:
            connection = self._open()
        except OSError:
            return REFUSED, b""
        try:
            connection.sendall(request)
            return read_response(connection)
        except (OSError, AnswerRefused, StopIteration, ValueError):
            self.close()
            return CUT, b""

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        if self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            # nothing is due, so it is the end: a server that stops closes what is idle
            self.close()
        if self._socket is None:
            self._socket = socket.create_connection(
                self._address, LIMIT, (self._source, 0) if self._source else None
            )
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # the kernel's own limit: Python's asks it twice for every send and receive, and the
            # senders share the machine
            self._socket.settimeout(None)
            self._socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(LIMIT), 0)
            )
        return self._socket


def encode(address: str, body: dict[str, Any]) -> bytes:
    content = json.dumps({**body, "top_k": TOP_K}).encode()
    return (
        b"POST /recommend HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (address.encode(), len(content), content)
    )


def judge(status: int, content: bytes) -> int:
    """The last column of an answer."""
    if status != 200:
        return 0
    body = json.loads(content)
    ids = {item["item_id"] for item in body["items"]}
    return (DEGRADED if body["degraded"] else 0) | (FULL if len(ids) == TOP_K else 0)


def run(
    connections: list[Connection], requests: list[bytes], order: dict[str, Any]
) -> list[list[float]]:
    """Send from ``begin`` to ``end`` (monotonic seconds).

    Args:
        order: ``begin``, ``end``, ``first``: number of the first request, ``interval``: seconds
            from one request to the next, 0 for each when the one before it on the connection is
            answered.

    Returns:
        Rows of [meant to be sent, sent, answered, status, bits].
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
                time.sleep(0.01)  # nobody listens: not as fast as the machine can

    threads = [threading.Thread(target=visit, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rows


def make(request: dict[str, Any]) -> dict[str, Command]:
    """request: ``address``, ``requests`` (bodies), ``sources`` (one a connection)."""
    connections = [Connection(request["address"], source) for source in request["sources"]]
    requests = [encode(request["address"], body) for body in request["requests"]]
    for connection in connections:
        with contextlib.suppress(OSError):
            connection._open()
    return {"run": lambda order: run(connections, requests, order)}


if __name__ == "__main__":
    serve(make)
