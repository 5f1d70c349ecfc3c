"""Type the commands of `recsys` for a home of its own, as a user of the README does."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from recsys_assets.bench.harness.part import BenchFailed, clean_environment
from recsys_assets.files import log_tail
from recsys_assets.settings import LOCAL_PORTS, Settings

#: Seconds after which a command counts as failed; the longest one trains all models.
COMMAND_LIMIT = 3_600.0
ANSWER_LIMIT = 10.0  # seconds for an answer over HTTP
END_LIMIT = 10.0  # seconds from SIGTERM to SIGKILL
#: The offsets keep every port below those that the system uses for outgoing connections.
OFFSETS = range(1_000, 20_000, 20)
LOCAL = "127.0.0.1"
TAIL_LINES = 12
#: Settings of the machine, which a user would set for every home.
OF_THE_MACHINE = ("RECSYS_TRAINING_PYTHON", "RECSYS_SERVING_PYTHON")
_CONTROL = re.compile(r"\x1b\[[0-9;]*m")


class StepFailed(RuntimeError):
    """A command or a request failed.

    Attributes:
        step: the command's name, or "recommend".
    """

    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step


def default_port(name: str) -> int:
    """Return a port of a home without an offset."""
    return int(Settings.model_fields[name].default)


def free_offset() -> int:
    """Return a RECSYS_PORT_OFFSET with which every port of a home is free.

    Raises:
        BenchFailed: there is none.
    """
    for offset in random.SystemRandom().sample(OFFSETS, len(OFFSETS)):
        if all(_is_free(default_port(name) + offset) for name in LOCAL_PORTS):
            return offset
    raise BenchFailed(
        f"no RECSYS_PORT_OFFSET from {OFFSETS[0]} to {OFFSETS[-1]} leaves every port free; end "
        "the processes that listen there"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind((LOCAL, port))
        return True
    return False


@dataclass
class Terminal:
    """Runs commands in the folder of a shop's files, with a home of its own.

    Attributes:
        home: RECSYS_HOME.
        files: working directory.
        offset: RECSYS_PORT_OFFSET.
        seed: RECSYS_SEED; None: its default.
        seconds: of each command, by its name.
    """

    home: Path
    files: Path
    offset: int
    seed: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def recsys(self, arguments: Sequence[str]) -> str:
        """Run a command of `recsys` to its end; return what it printed on standard output.

        Raises:
            StepFailed: its exit code is not 0, or it took longer than COMMAND_LIMIT; the message
                holds its last lines.
        """
        step, log, answer = (
            arguments[0],
            self.home.parent / f"{arguments[0]}.log",
            self.home.parent / f"{arguments[0]}.out",
        )
        began = time.monotonic()
        try:
            with open(log, "wb") as errors, open(answer, "wb") as output:
                code = self._run(arguments, output, errors)
        finally:
            self.seconds[step] = round(time.monotonic() - began, 1)
        if code != 0:
            ended = f"took longer than {COMMAND_LIMIT:.0f} s" if code is None else f"code {code}"
            last = _CONTROL.sub("", log_tail(log, TAIL_LINES)).strip()
            raise StepFailed(step, f"`recsys {shlex.join(arguments)}`: {ended}\n{last}")
        return _CONTROL.sub("", answer.read_text())

    def _run(self, arguments: Sequence[str], output: Any, errors: Any) -> int | None:
        """Return the exit code; None if the command took too long."""
        process = subprocess.Popen(
            [sys.executable, "-m", "recsys_assets.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=self._environment(),
            cwd=self.files,
            start_new_session=True,  # so that its own processes end with it
        )
        try:
            return process.wait(COMMAND_LIMIT)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                _end_group(process)

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in OF_THE_MACHINE if name in os.environ}
        return {
            **clean_environment(),
            **kept,
            "RECSYS_HOME": str(self.home),
            "RECSYS_PORT_OFFSET": str(self.offset),
            **({} if self.seed is None else {"RECSYS_SEED": str(self.seed)}),
            "COLUMNS": "200",  # no line of a report is folded
        }

    def recommend(self, visitor: str) -> dict[str, Any]:
        """Return the answer of POST /recommend for a visitor.

        Raises:
            StepFailed: there is no answer, or its status is not 200.
        """
        with self._client() as client:
            return self._recommend(client, visitor)

    def answer_times(self, visitors: Sequence[str]) -> list[float]:
        """Return the milliseconds of POST /recommend for each visitor, one after the other.

        The connection is kept alive. All visitors are asked once before, unmeasured.

        Raises:
            StepFailed: as ``recommend``.
        """
        milliseconds = []
        with self._client() as client:
            for visitor in visitors:
                self._recommend(client, visitor)
            for visitor in visitors:
                began = time.perf_counter()
                self._recommend(client, visitor)
                milliseconds.append((time.perf_counter() - began) * 1_000)
        return milliseconds

    @staticmethod
    def _client() -> httpx.Client:
        # the environment may name a proxy, which cannot reach this machine
        return httpx.Client(timeout=ANSWER_LIMIT, trust_env=False)

    def _recommend(self, client: httpx.Client, visitor: str) -> dict[str, Any]:
        url = f"http://{LOCAL}:{default_port('gateway_port') + self.offset}/recommend"
        try:
            answer = client.post(url, json={"user_id": visitor})
        except httpx.HTTPError as error:
            raise StepFailed("recommend", f"POST {url} for {visitor!r}: {error}") from error
        if answer.status_code != 200:
            raise StepFailed(
                "recommend",
                f"POST {url} for {visitor!r}: status {answer.status_code}: {answer.text[:500]}",
            )
        content: dict[str, Any] = answer.json()
        return content


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a command and the processes of its session."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(END_LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
