"""The inner side of a measured process: reads orders and writes answers, as JSON.

The process stays warm over several rounds. So systems can be measured in turns, and a busy moment
of the machine affects all of them. Every environment's interpreter runs this module, so it imports
only the standard library. The outer side is ``workers.py``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypedDict

from recsys_assets.exits import run_and_leave

Command = Callable[[dict[str, Any]], Any]
TRIES = 5


class Laps(TypedDict):
    """Seconds that a closed loop measured.

    Attributes:
        laps: of each request.
        elapsed: of all requests together.
        parts: name → of each request's part.
    """

    laps: list[float]
    elapsed: float
    parts: dict[str, list[float]]


def serve(make: Callable[[dict[str, Any]], Mapping[str, Command]]) -> NoReturn:
    """Make the commands from the request's file (argv[1]) and answer orders.

    Writes ``ready`` first. An order is ``{"command": name, …}``; its answer is the command's
    result. Ends the process when the orders end.
    """
    run_and_leave(lambda: _serve(make))


def _serve(make: Callable[[dict[str, Any]], Mapping[str, Command]]) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with the answers

    def say(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    commands = make(json.loads(Path(sys.argv[1]).read_text()))
    say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        say(commands[order["command"]](order))


def drive(act: Callable[[int], Mapping[str, float]], number: int, order: Mapping[str, Any]) -> Laps:
    """Run a closed loop: send the next request when the last is answered.

    Args:
        act: sends request i; returns the seconds of its parts, if known.
        number: number of requests, which the loop cycles through.
        order: ``count`` of requests or ``seconds`` to run; ``first``: number of the first request.
    """
    at, count, limit = order.get("first", 0), order.get("count"), order.get("seconds")
    laps: list[float] = []
    parts: dict[str, list[float]] = {}
    started = before = time.perf_counter()
    while True:
        found = act(at % number)
        now = time.perf_counter()
        laps.append(now - before)
        for name, seconds in found.items():
            parts.setdefault(name, []).append(seconds)
        at += 1
        if (count is not None and len(laps) >= count) or (
            limit is not None and now - started >= limit
        ):
            return {"laps": laps, "elapsed": now - started, "parts": parts}
        before = time.perf_counter()


def undegraded(ask: Callable[[], tuple[list[str], bool]]) -> tuple[list[str], bool]:
    """Return (ids, degraded) of the first answer that is not degraded.

    Tries a few times, because a busy machine may miss a store's timeout once.
    """
    for _ in range(TRIES):
        ids, degraded = ask()
        if not degraded:
            break
    return ids, degraded
