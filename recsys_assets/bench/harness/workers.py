"""The outer side of ``worker.py``: equal processes that receive orders.

A measurement uses as many of them as it has clients.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.harness.worker import Laps
from recsys_assets.files import log_tail
from recsys_assets.settings import PROJECT_ROOT

#: Seconds for an answer, and for the start: Merlin imports slowly, and a million items load slowly.
ANSWER_LIMIT, START_LIMIT = 600.0, 300.0


@dataclass
class WorkerLoad:
    """Holds the measurements of a closed loop of one or more clients.

    Attributes:
        laps: seconds of each request.
        rate: requests per second of all clients together.
        parts: seconds of each request's parts.
    """

    laps: list[float] = field(default_factory=list)
    rate: float = 0.0
    parts: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, answers: list[Laps]) -> WorkerLoad:
        """Join the measurements of clients that ran in parallel."""
        parts: dict[str, list[float]] = {}
        for answer in answers:
            for name, seconds in answer["parts"].items():
                parts.setdefault(name, []).extend(seconds)
        return cls(
            [lap for answer in answers for lap in answer["laps"]],
            sum(len(answer["laps"]) / answer["elapsed"] for answer in answers),
            parts,
        )


class Workers:
    """Starts equal processes of one module; ``close`` ends them.

    Args:
        name: of their logs.
        python: the environment's interpreter.
        module: calls ``worker.serve``.
        request: passed to the module's ``make``.
        count: number of processes.
        environment: of the processes.
        folder: for request and logs.
    """

    def __init__(
        self,
        name: str,
        python: Path | str,
        module: str,
        request: Mapping[str, Any],
        count: int,
        environment: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.name = name
        path = folder / f"{name}.json"
        path.write_text(json.dumps(request))
        self._logs = [folder / f"{name}-{n}.log" for n in range(count)]
        self._processes: list[subprocess.Popen[bytes]] = []
        #: Orders and answers of each process.
        self._pipes: list[tuple[IO[bytes], IO[bytes]]] = []
        for log in self._logs:
            with open(log, "wb") as errors:
                process = subprocess.Popen(
                    [str(python), "-m", module, str(path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=dict(environment),
                    cwd=PROJECT_ROOT,
                    bufsize=0,
                )
            self._processes.append(process)
            assert process.stdin is not None and process.stdout is not None
            self._pipes.append((process.stdin, process.stdout))

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ready(self) -> Workers:
        """Wait until all processes are ready.

        Raises:
            BenchFailed: a process ended, or was not ready in time.
        """
        for n in range(len(self._processes)):
            self._answer(n, START_LIMIT)
        return self

    def ask(self, command: str, clients: int = 1, **order: Any) -> list[Any]:
        """Give an order to the first ``clients`` processes at once; return their answers.

        A list among the order's values holds one value per client.

        Raises:
            BenchFailed: a process ended, or did not answer in time.
        """
        for n in range(clients):
            line = (
                json.dumps(
                    {
                        "command": command,
                        **{
                            key: value[n] if isinstance(value, list) else value
                            for key, value in order.items()
                        },
                    }
                )
                + "\n"
            )
            with contextlib.suppress(BrokenPipeError):  # _answer raises, with the log
                self._pipes[n][0].write(line.encode())
        return [self._answer(n, ANSWER_LIMIT) for n in range(clients)]

    def run(self, clients: int, stride: int, **order: Any) -> WorkerLoad:
        """Run closed loops in parallel, each ``stride`` requests after the last."""
        return WorkerLoad.of(
            self.ask(
                "run",
                clients,
                first=[n * stride + order.get("first", 0) for n in range(clients)],
                **{key: value for key, value in order.items() if key != "first"},
            )
        )

    def close(self) -> None:
        """End all processes."""
        for pipes in self._pipes:
            for pipe in pipes:
                pipe.close()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _answer(self, n: int, limit: float) -> Any:
        process, answers, received = self._processes[n], self._pipes[n][1], b""
        while not received.endswith(b"\n"):
            if not select.select([answers], [], [], limit)[0]:
                raise BenchFailed(
                    f"{self.name} gave no answer within {limit:.0f} s:\n{log_tail(self._logs[n])}"
                )
            block = os.read(answers.fileno(), 1 << 20)
            if not block:
                raise BenchFailed(
                    f"{self.name} ended with code {process.wait()}:\n{log_tail(self._logs[n])}"
                )
            received += block
        return json.loads(received)
