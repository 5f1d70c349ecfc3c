"""One measured part of a bench: a module run in a process of its own, so that its time and peak
memory are its own.

A part is called as ``python -m <module> REQUEST.json``, or, in the training environment, as a
training step; it writes one JSON object as the last line of its standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from recsys_assets.exits import run_and_leave
from recsys_assets.operations.processes import log_tail
from recsys_assets.operations.usage import gib, peak_bytes, tree_bytes
from recsys_assets.settings import PROJECT_ROOT, Settings

SAMPLE_SECONDS = 0.05


class BenchFailed(RuntimeError):
    """A part failed, or two engines that must agree do not; the message names which and what to
    look at.
    """


@dataclass(frozen=True)
class Measured:
    result: dict[str, Any]  # what the part wrote
    peak_gib: float  # of its process and all of its descendants together


def watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process to end; its peak memory in bytes, with its descendants'."""
    watched, peak = psutil.Process(process.pid), 0
    while True:
        try:
            process.wait(SAMPLE_SECONDS)
            return peak
        except subprocess.TimeoutExpired:
            peak = max(peak, tree_bytes(watched))


def run_part(module: str, request: Mapping[str, Any], folder: Path, settings: Settings) -> Measured:
    """Run a module of this package as a part; ``request`` is what its ``body`` is given."""
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
    """Run a training step in the training environment, as Pipes would."""
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
        BenchFailed: it ended with another code than 0; with the last lines of what it said.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RECSYS_")}
    log, answer = folder / f"{name}.log", folder / f"{name}.out"
    # the hash seed: a training step would otherwise start itself a second time to set it
    environment = {**inherited, **settings.environment(), "PYTHONHASHSEED": "0"}
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
    """Entry point of a part's module: the request's file in, the result out, with the process's own
    peak.
    """

    def measured() -> None:
        result = body(json.loads(Path(sys.argv[1]).read_text()))
        print(json.dumps({"peak_bytes": peak_bytes(), **result}), flush=True)

    run_and_leave(measured)  # the clock and the memory of tear-down belong to nobody
