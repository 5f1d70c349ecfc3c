"""The inner side of a measured process that lives through several rounds: told by a line of JSON,
it answers by a line.

Kept warm between rounds, so that systems can be measured in turns and a busy moment of the machine
hits all of them alike. Run by every environment's interpreter, hence the standard library alone.
The outer side is ``workers.py``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from recsys_assets.exits import run_and_leave

Command = Callable[[dict[str, Any]], Any]
TRIES = 5


def serve(make: Callable[[dict[str, Any]], Mapping[str, Command]]) -> NoReturn:
    """Entry point: ``make`` the commands out of the request's file (argv[1]), say ``ready``, then
    answer order by order.

    An order is ``{"command": name, …}``; its answer is what the command returns. Ends with the
    orders.
    """
    run_and_leave(lambda: _serve(make))


def _serve(make: Callable[[dict[str, Any]], Mapping[str, Command]]) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not run between the answers

    def say(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    commands = make(json.loads(Path(sys.argv[1]).read_text()))
    say("ready")
    for line in sys.stdin:
        order = json.loads(line)
        say(commands[order["command"]](order))


def drive(
    act: Callable[[int], Mapping[str, float]], number: int, order: Mapping[str, Any]
) -> dict[str, Any]:
    """A closed loop: the next request when the last is answered.

    Args:
        act: sends request i; returns the seconds of its parts, where it knows them.
        number: of requests, gone through in circles.
        order: ``count`` of requests or ``seconds`` to go on for; ``first``: the request to begin
            with.

    Returns:
        {"laps": seconds of each, "elapsed": of all, "parts": {name: [seconds of each]}}.
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
    """(ids, degraded) of the first of a few answers that did without nothing: a busy machine may
    miss a store's limit once.
    """
    for _ in range(TRIES):
        ids, degraded = ask()
        if not degraded:
            break
    return ids, degraded
