"""A way to a server that takes its time: every answer comes late by a number of seconds that a test
sets.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class SlowProxy:
    """Use as a context; ``port``; ``delay`` of each answer in seconds, changed at any time;
    ``connections`` so far.

    Late answers do come, as they would from a busy server.
    """

    def __init__(self, port: int):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.delay, self.connections = 0.0, 0
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> SlowProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for opened in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client = self._listener.accept()[0]
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                threading.Thread(
                    target=self._forward, args=(client, server, False), daemon=True
                ).start()
                threading.Thread(
                    target=self._forward, args=(server, client, True), daemon=True
                ).start()

    def _forward(self, source: socket.socket, target: socket.socket, late: bool) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65_536):
                if late:
                    time.sleep(self.delay)
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)
