"""Answer GET requests over real HTTP by JSON, in the place of an API that does not run here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: What the Kubernetes API answers where it has nothing.
NOT_FOUND = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}


@contextmanager
def json_server(answer: Callable[[str], tuple[int, Any]]) -> Iterator[str]:
    """Serve, and yield the address.

    Args:
        answer: takes the path with its query, and returns status and content.
    """

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            status, content = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig(address: str) -> dict[str, Any]:
    """Return the kubeconfig of a user without keys, for an API at an address."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "small",
        "clusters": [{"name": "small", "cluster": {"server": address}}],
        "contexts": [{"name": "small", "context": {"cluster": "small", "user": "small"}}],
        "users": [{"name": "small", "user": {}}],
    }
