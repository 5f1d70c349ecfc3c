"""The outer side of ``worker.py``: several processes alike, of which as many are set to work as a
measurement asks for.
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
from recsys_assets.operations.processes import log_tail
from recsys_assets.settings import PROJECT_ROOT

#: Seconds for an answer, and until the first: TensorFlow's neighbours import slowly, and a million
#: items load slowly.
ANSWER_LIMIT, START_LIMIT = 600.0, 300.0


@dataclass
class WorkerLoad:
    """What a closed loop of one or more clients measured."""

    laps: list[float] = field(default_factory=list)  # seconds of each request
    rate: float = 0.0  # requests a second, of all clients together
    parts: dict[str, list[float]] = field(default_factory=dict)  # seconds of each request's parts

    @classmethod
    def of(cls, answers: list[dict[str, Any]]) -> WorkerLoad:
        """Of clients that ran side by side."""
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
    """Processes of one module, started at once; ``close`` ends them.

    Args:
        name: of their logs. python: the environment's interpreter. module: calls ``worker.serve``.
        request: what the module's ``make`` is given. environment: of the processes. folder: for
            request and logs.
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
    ):
        self.name = name
        path = folder / f"{name}.json"
        path.write_text(json.dumps(request))
        self._logs = [folder / f"{name}-{n}.log" for n in range(count)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pipes: list[
            tuple[IO[bytes], IO[bytes]]
        ] = []  # of each process: its orders, its answers
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
        """Wait until all have opened what they need; raises BenchFailed."""
        for n in range(len(self._processes)):
            self._answer(n, START_LIMIT)
        return self

    def ask(self, command: str, clients: int = 1, **order: Any) -> list[Any]:
        """Give an order to the first ``clients`` at the same time; their answers. Raises
        BenchFailed.
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
            with contextlib.suppress(BrokenPipeError):  # told below, with its log
                self._pipes[n][0].write(line.encode())
        return [self._answer(n, ANSWER_LIMIT) for n in range(clients)]

    def run(self, clients: int, stride: int, **order: Any) -> WorkerLoad:
        """Closed loops side by side, each ``stride`` requests after the one before."""
        return WorkerLoad.of(
            self.ask(
                "run",
                clients,
                first=[n * stride + order.get("first", 0) for n in range(clients)],
                **{key: value for key, value in order.items() if key != "first"},
            )
        )

    def close(self) -> None:
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
                    f"{self.name} gave no answer within {limit:.0f} s; see "
                    f"{log_tail(self._logs[n])}"
                )
            block = os.read(answers.fileno(), 1 << 20)
            if not block:
                raise BenchFailed(
                    f"{self.name} ended with code {process.wait()}:\n{log_tail(self._logs[n])}"
                )
            received += block
        return json.loads(received)
