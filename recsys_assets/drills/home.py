"""Prepare a drill on the running home: its parts, their memory, and load."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness.requests import Request, choose
from recsys_assets.bench.harness.workers import Workers
from recsys_assets.drills.figures import Answers, Bar
from recsys_assets.files import write_json
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.operations import local_parts, services
from recsys_assets.operations.local_parts import http_ok
from recsys_assets.operations.processes import read_record
from recsys_assets.release_files import TRANSFORMS, model_file
from recsys_assets.settings import Settings

PARTS = ("valkey", "triton", "gateway", "consumer")
#: Client processes, and connections per process: more than the gateway serves at once, so that
#: requests queue there and not in the client.
CLIENTS, CONNECTIONS = 2, 24
REQUESTS, SEED = 5_000, 7
#: Seconds from the order to the first request.
LEAD = 0.5

Say = Callable[[str], None]


class DrillFailed(RuntimeError):
    """A drill cannot run on this home; the message names the reason and the remedy."""


def require_running(settings: Settings, parts: Sequence[str] = PARTS) -> None:
    """Verify that the parts run here and that a release is served.

    Raises:
        DrillFailed: a part does not run on this machine, or the gateway serves no release.
    """
    known = {
        part.name: part
        for part in services.status(
            settings, [s.name for s in local_parts.local_services(settings) if s.name in parts]
        )
    }
    away = [part for part in parts if part not in known or not known[part].running]
    if away:
        raise DrillFailed(
            f"{', '.join(away)} of {settings.home} must run on this machine for a drill: start it "
            "with `recsys up`"
        )
    if not http_ok(f"{settings.gateway_url}/readyz"):
        raise DrillFailed(
            f"the gateway at {settings.gateway_url} serves no release: promote one with `recsys "
            "promote`"
        )


def visitors(settings: Settings, count: int = REQUESTS) -> list[Request]:
    """Return requests of visitors that the champion knows, and of some unknown ones.

    Raises:
        DrillFailed: no release was promoted.
    """
    champion = read_champion(settings)
    if champion is None:
        raise DrillFailed(
            f"{settings.home} has no champion: promote a release with `recsys promote`"
        )
    store = ArtifactStore(settings.artifacts, cache=settings.home / "cache" / "artifacts")
    path = releases.open_release(store, champion.release).artifact.path(
        model_file("nvt_user_transform", TRANSFORMS)
    )
    return choose(json.loads(Path(path).read_text()), count, int(time.time()), SEED)


def process(settings: Settings, part: str) -> psutil.Process:
    """Return the process of a part.

    Raises:
        DrillFailed: it has ended.
    """
    record = read_record(settings.home / "run", part)
    found = record.process() if record else None
    if found is None:
        raise DrillFailed(f"{part} has ended; its log is {settings.home / 'logs' / f'{part}.log'}")
    return found


def memory(settings: Settings) -> dict[str, float]:
    """Return the memory of each part with its descendants, in MiB.

    It is the memory of these processes alone, in RAM or swapped out. The proportional set size
    would grow when another program ends that had loaded the same libraries.
    """
    return {
        part: round(sum(_own_bytes(one) for one in _tree(process(settings, part))) / 2**20, 2)
        for part in PARTS
    }


def _tree(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


def _own_bytes(of: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error, OSError):
        memory = of.memory_full_info()
        return memory.uss + memory.swap
    return 0  # the process has ended


class Load:
    """Sends load to one gateway from client processes, one measurement at a time.

    Args:
        settings: of the home.
        requests: sent in turn.
        connections: per client process.
        addresses: use a loopback address per connection, so that the rate limit per client does not
            apply.
    """

    def __init__(
        self,
        settings: Settings,
        requests: list[Request],
        connections: int = CONNECTIONS,
        *,
        addresses: bool = False,
    ) -> None:
        self._requests, self._connections = requests, connections
        self._workers: list[Workers] = []
        self._folder = tempfile.TemporaryDirectory(prefix="recsys-drill-")
        self._pool = ThreadPoolExecutor(CLIENTS)
        for client in range(CLIENTS):
            sources = [
                f"127.0.{client + 1}.{n + 1}" if addresses else "" for n in range(connections)
            ]
            body = {
                "address": f"{settings.gateway_host}:{settings.gateway_port}",
                "requests": requests,
                "sources": sources,
            }
            self._workers.append(
                Workers(
                    f"client-{client}",
                    sys.executable,
                    "recsys_assets.drills.client",
                    body,
                    1,
                    os.environ,
                    Path(self._folder.name),
                )
            )

    def __enter__(self) -> Load:
        for worker in self._workers:
            worker.ready()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()
        self._pool.shutdown()
        self._folder.cleanup()

    def start(self, seconds: float, rate: float = 0.0) -> Running:
        """Start to send ``rate`` requests per second.

        With rate 0 each connection sends the next request when the last is answered.
        """
        begin = time.monotonic() + LEAD
        interval = CLIENTS / rate if rate else 0.0
        asked = [
            self._pool.submit(
                worker.ask,
                "run",
                1,
                begin=begin + n * interval / CLIENTS,
                end=begin + seconds,
                interval=interval,
                first=n * len(self._requests) // CLIENTS,
            )
            for n, worker in enumerate(self._workers)
        ]
        return Running(begin, begin + seconds, asked)

    def run(self, seconds: float, rate: float = 0.0) -> Answers:
        """Send load to its end and return the answers."""
        return self.start(seconds, rate).answers()


class Running:
    """Load in progress from ``begin`` to ``end``, monotonic seconds."""

    def __init__(
        self, begin: float, end: float, asked: list[Future[list[list[list[float]]]]]
    ) -> None:
        self.begin, self.end, self._asked = begin, end, asked

    def wait_until(self, moment: float) -> None:
        """Sleep until a moment, monotonic seconds."""
        time.sleep(max(0.0, moment - time.monotonic()))

    def answers(self) -> Answers:
        """Wait for all answers.

        Raises:
            BenchFailed: a client process ended.
        """
        return Answers.of([one.result()[0] for one in self._asked])


@contextlib.contextmanager
def parts_again(settings: Settings, say: Say) -> Iterator[None]:
    """Start every ended part again, also after an error."""
    try:
        yield
    finally:
        services.up(
            settings, only=PARTS, progress=lambda line: None if "already" in line else say(line)
        )


def write_report(
    settings: Settings, name: str, figures: dict[str, object], bars: Sequence[Bar]
) -> Path:
    """Write $RECSYS_HOME/bench/drill_<name>.json and return its path."""
    path = settings.home / "bench" / f"drill_{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        path,
        {
            "drill": name,
            "cpu_count": os.cpu_count(),
            "at": int(time.time()),
            **figures,
            "bars": [bar.told() for bar in bars],
            "met": all(bar.met is not False for bar in bars),
        },
    )
    return path
