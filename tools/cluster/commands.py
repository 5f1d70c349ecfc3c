"""Run programs, and wait for what they do."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

PR_SET_PDEATHSIG = 1


class ClusterError(RuntimeError):
    """The cluster cannot do what was asked; the message names the cause and the remedy."""


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends; call it before a new program."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def without_proxies() -> dict[str, str]:
    """Return this process's environment without proxies, which know no address of a cluster."""
    return {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }


def run(
    *arguments: str | Path,
    limit: float = 300.0,
    given: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program and return its standard output.

    Args:
        arguments: the command line.
        limit: seconds.
        given: its standard input.
        environment: of the program; None: this process's.

    Raises:
        ClusterError: it failed or took longer than ``limit`` seconds.
    """
    command = [str(argument) for argument in arguments]
    shown = " ".join(command)[:300]
    try:
        done = subprocess.run(
            command,
            input=given,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{shown}: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{shown}: no end after {limit:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise ClusterError(f"{shown} ended with {done.returncode}: {said}")
    return done.stdout


def wait_until(true: Callable[[], bool], what: str, limit: float, every: float = 0.1) -> None:
    """Wait until a condition holds.

    Raises:
        ClusterError: it did not hold within ``limit`` seconds.
    """
    end = time.monotonic() + limit
    while not true():
        if time.monotonic() > end:
            raise ClusterError(f"{what}: not within {limit:.0f} s")
        time.sleep(every)


class Steps:
    """Prints one line per finished step, with its seconds."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self._name, self._say = name, say
        self._begin = self._last = time.monotonic()

    def done(self, step: str) -> None:
        """Print a step that has just finished."""
        now = time.monotonic()
        self._say(f"{self._name}: {step} {now - self._last:.1f} s")
        self._last = now

    def total(self, what: str) -> None:
        """Print the seconds since the begin."""
        self._say(f"{self._name}: {what} after {time.monotonic() - self._begin:.1f} s")


def remove_tree(folder: Path, limit: float = 20.0) -> None:
    """Delete a folder; try again while a process that is about to end still writes there.

    Raises:
        ClusterError: it could not be deleted within ``limit`` seconds.
    """
    end = time.monotonic() + limit
    while folder.exists():
        with contextlib.suppress(ClusterError):
            run("rm", "-rf", "--one-file-system", folder, limit=900.0)
        if folder.exists() and time.monotonic() > end:
            raise ClusterError(f"{folder} cannot be deleted: does a process write there?")


def environment_path(name: str, default: Path) -> Path:
    """Return a folder that a variable of the environment may name."""
    return Path(os.environ.get(name) or default).expanduser().absolute()
