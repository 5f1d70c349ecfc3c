"""Run one measured part of a bench in a process of its own.

So its time and its peak memory are its own. A part is called as ``python -m <module>
REQUEST.json``, or, in the training environment, as a training step. It writes one JSON object as
the last line of its standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from recsys_assets.exits import run_and_leave
from recsys_assets.files import log_tail
from recsys_assets.operations.usage import gib, peak_bytes, tree_bytes
from recsys_assets.settings import PROJECT_ROOT, Settings

SAMPLE_SECONDS = 0.05


class BenchFailed(RuntimeError):
    """A part failed, or two systems that must agree differ; the message says where."""


def refuse_unknown(kind: str, asked: Iterable[str], known: Sequence[str]) -> None:
    """Refuse names that a bench does not have; kind: what they name, singular.

    Raises:
        BenchFailed: names the unknown ones and those that exist.
    """
    if unknown := sorted(set(asked) - set(known)):
        raise BenchFailed(f"no {kind} is called {', '.join(unknown)}; there are {', '.join(known)}")


@dataclass(frozen=True)
class Measured:
    """Holds the result and the memory of a part.

    Attributes:
        result: the object that the part wrote.
        peak_gib: of its process and all descendants together.
    """

    result: dict[str, Any]
    peak_gib: float


def clean_environment() -> dict[str, str]:
    """Return this process's variables without the settings, which each home sets."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}


def watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process to end; return its and its descendants' peak bytes."""
    watched, peak = psutil.Process(process.pid), 0
    while True:
        try:
            process.wait(SAMPLE_SECONDS)
            return peak
        except subprocess.TimeoutExpired:
            peak = max(peak, tree_bytes(watched))


def run_part(module: str, request: Mapping[str, Any], folder: Path, settings: Settings) -> Measured:
    """Run a module of this package as a part; its ``body`` receives ``request``."""
    path = folder / f"{module.rsplit('.', 1)[-1]}.json"
    path.write_text(json.dumps(request))
    return run_process(module, [sys.executable, "-m", module, str(path)], folder, settings)


def run_training_part(
    module: str,
    inputs: Mapping[str, Any],
    output: Path,
    params: Mapping[str, Any],
    folder: Path,
    settings: Settings,
) -> Measured:
    """Run a training step in the training environment, as Pipes does."""
    path = folder / f"{module.rsplit('.', 1)[-1]}.json"
    path.write_text(json.dumps({"inputs": inputs, "output": str(output), "params": params}))
    return run_process(
        module,
        [str(settings.training_python), "-m", module, "--extras", str(path)],
        folder,
        settings,
    )


def run_process(name: str, command: Sequence[str], folder: Path, settings: Settings) -> Measured:
    """Run a command to its end and watch its memory.

    Raises:
        BenchFailed: the exit code is not 0; the message holds the end of its log.
    """
    log, answer = folder / f"{name}.log", folder / f"{name}.out"
    # with another hash seed a training step would restart itself
    environment = {**clean_environment(), **settings.environment(), "PYTHONHASHSEED": "0"}
    with open(log, "wb") as errors, open(answer, "wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            cwd=PROJECT_ROOT,
        )
        try:
            peak = watch(process)
        finally:
            if process.poll() is None:  # interrupted
                process.kill()
    if process.returncode:
        raise BenchFailed(f"{name} ended with code {process.returncode}:\n{log_tail(log)}")
    result = json.loads(answer.read_text().splitlines()[-1])
    return Measured(result, gib(max(peak, result.get("peak_bytes", 0))))


def main(body: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Run a part's module: read the request's file, print result and peak memory."""

    def measured() -> None:
        result = body(json.loads(Path(sys.argv[1]).read_text()))
        print(json.dumps({"peak_bytes": peak_bytes(), **result}), flush=True)

    run_and_leave(measured)  # skips the tear-down, which would be measured too
