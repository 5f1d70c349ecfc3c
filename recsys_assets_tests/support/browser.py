"""Drive a headless Chromium by its DevTools protocol: open a page, and run JavaScript in it."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from recsys_assets_tests.support.stack import eventually

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
NO_CHROMIUM = "no Chromium: apt-get install chromium fonts-dejavu-core"
LIMIT = 60  # seconds for one call


def command(profile: Path, *more: str) -> list[str]:
    """Return the command line of a headless Chromium that asks no other host for anything."""
    return [
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={profile}",
        "--window-size=1280,1600",
        "--hide-scrollbars",
        *more,
    ]


class Page:
    """An open page."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._ids = connection, itertools.count(1)

    def run(self, script: str) -> Any:
        """Return the value of an expression; a promise is awaited.

        Raises:
            AssertionError: the script failed.
        """
        number = next(self._ids)
        asked = {"expression": script, "awaitPromise": True, "returnByValue": True}
        self._connection.send(
            json.dumps({"id": number, "method": "Runtime.evaluate", "params": asked})
        )
        while True:  # events come in between
            answer = json.loads(self._connection.recv(timeout=LIMIT))
            if answer.get("id") == number:
                break
        assert "exceptionDetails" not in answer["result"], answer
        return answer["result"]["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until an expression is true.

        Raises:
            AssertionError: it is not, LIMIT seconds long.
        """
        eventually(lambda: self.run(condition) is True, condition, seconds=LIMIT)


@contextmanager
def opened(url: str, profile: Path) -> Iterator[Page]:
    """Open a page in a browser of its own, and end the browser afterwards."""
    process = subprocess.Popen(
        command(profile, "--remote-debugging-port=0", "about:blank"),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = next(one for one in process.stderr if "DevTools listening on" in one)
        address = line.split("ws://")[1].split("/")[0]
        with httpx.Client(trust_env=False, timeout=LIMIT) as client:
            made = client.put(f"http://{address}/json/new?{url}").json()
        with connect(made["webSocketDebuggerUrl"], proxy=None, max_size=None) as connection:
            page = Page(connection)
            page.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")
            yield page
    finally:
        process.kill()
        process.wait()
