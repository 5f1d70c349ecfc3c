"""The running home that a drill is held on: its parts, their memory, and load on its gateway."""

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
#: Processes that send, and connections of each: more than can be open at once in the gateway, so
#: that a queue is not the sender's.
CLIENTS, CONNECTIONS = 2, 24
REQUESTS, SEED = 5_000, 7
#: Until the first request after everybody was told to begin.
LEAD = 0.5

Say = Callable[[str], None]


class DrillFailed(RuntimeError):
    """A drill cannot be held on this home; the message says why and what to do."""


def require_running(settings: Settings, parts: Sequence[str] = PARTS) -> None:
    """Raises DrillFailed where a part does not run here, or nothing is served."""
    known = {
        part.name: part
        for part in services.status(
            settings, [s.name for s in local_parts.local_services(settings) if s.name in parts]
        )
    }
    away = [part for part in parts if part not in known or not known[part].running]
    if away:
        raise DrillFailed(
            f"{', '.join(away)} of {settings.home} must run on this machine for a drill: start "
            "with `recsys up`"
        )
    if not http_ok(f"{settings.gateway_url}/readyz"):
        raise DrillFailed(
            f"the gateway at {settings.gateway_url} serves no release: promote one with `recsys "
            "promote`"
        )


def visitors(settings: Settings, count: int = REQUESTS) -> list[Request]:
    """Requests of visitors whom the champion knows, and some whom nobody knows.

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
    """Raises DrillFailed where it has ended."""
    record = read_record(settings.home / "run", part)
    found = record.process() if record else None
    if found is None:
        raise DrillFailed(f"{part} has ended; its log is {settings.home / 'logs' / f'{part}.log'}")
    return found


def memory(settings: Settings) -> dict[str, float]:
    """Mebibytes of each part with its descendants: what is theirs alone, swapped out or not. Not
    the proportional set size, which grows when another program ends that had the same libraries
    loaded.
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
    return 0  # ended meanwhile


class Load:
    """Clients in processes of their own on one gateway; several measurements one after the other.

    Args:
        connections: of each client process.
        addresses: let each connection come from a loopback address of its own, so that the rate
            limit of one client does not apply.
    """

    def __init__(
        self,
        settings: Settings,
        requests: list[Request],
        connections: int = CONNECTIONS,
        *,
        addresses: bool = False,
    ):
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
        """Begin to send ``rate`` requests a second; 0: each connection the next as soon as the last
        is answered.
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
        """The same to its end."""
        return self.start(seconds, rate).answers()


class Running:
    """Load under way from ``begin`` to ``end``, monotonic seconds."""

    def __init__(self, begin: float, end: float, asked: list[Future[list[list[list[float]]]]]):
        self.begin, self.end, self._asked = begin, end, asked

    def wait_until(self, moment: float) -> None:
        time.sleep(max(0.0, moment - time.monotonic()))

    def answers(self) -> Answers:
        """Wait for all; raises BenchFailed where a client ended."""
        return Answers.of([one.result()[0] for one in self._asked])


@contextlib.contextmanager
def parts_again(settings: Settings, say: Say) -> Iterator[None]:
    """Whatever happens, what a drill has ended runs again."""
    try:
        yield
    finally:
        services.up(
            settings, only=PARTS, progress=lambda line: None if "already" in line else say(line)
        )


def write_report(
    settings: Settings, name: str, figures: dict[str, object], bars: Sequence[Bar]
) -> Path:
    """$RECSYS_HOME/bench/drill_<name>.json."""
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
