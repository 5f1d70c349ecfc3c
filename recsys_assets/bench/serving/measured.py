"""Hold what is measured: the plan of a bench, and the figures of each system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from recsys_assets.bench.harness.workers import WorkerLoad

Key = TypeVar("Key")
#: Requests that each system gets before it is measured.
WARM_UP = 100


@dataclass(frozen=True)
class ServingBenchPlan:
    """Sets how much a serving benchmark measures.

    Attributes:
        requests: number of different requests.
        rounds: how often each system answers all requests; the reference answers them once.
        concurrencies: clients in parallel, 1 first.
        seconds: length of a loop with several clients.
        items: of the synthetic catalogue; None: leave it out.
    """

    requests: int = 400
    rounds: int = 5
    concurrencies: tuple[int, ...] = (1, 2, 4, 8)
    seconds: float = 5.0
    items: int | None = 1_000_000


@dataclass
class MeasuredSystem:
    """Holds the measurements of one system over all rounds.

    Attributes:
        laps: seconds of each request at concurrency 1.
        rates: requests per second by concurrency.
        parts: name → seconds of each request's part.
        stages: <name>_ms → milliseconds.
    """

    laps: list[float] = field(default_factory=list)
    rates: dict[int, float] = field(default_factory=dict)
    parts: dict[str, list[float]] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)

    def add(self, load: WorkerLoad) -> None:
        """Add the laps and parts of a round."""
        self.laps += load.laps
        for name, seconds in load.parts.items():
            self.parts.setdefault(name, []).extend(seconds)


def in_turns(
    loops: Mapping[Key, Callable[[int], WorkerLoad]], requests: int, rounds: int
) -> dict[Key, list[float]]:
    """Return the seconds of each request to each system, asked one system after the other.

    Args:
        loops: system → one client's loop over a number of requests.
        requests: per round.
        rounds: of all systems.
    """
    laps: dict[Key, list[float]] = {key: [] for key in loops}
    for loop in loops.values():
        loop(min(WARM_UP, requests))
    for _ in range(rounds):
        for key, loop in loops.items():
            laps[key] += loop(requests).laps
    return laps
