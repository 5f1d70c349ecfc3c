"""Start, find and end local background processes.

Each runs in its own session. A pid is reused, so it does not identify a process: each start is
recorded in ``<run>/<name>.json`` with the process's create time. Every process also has a mark in
its environment, which its descendants inherit. The mark finds a descendant even when its parents
have ended.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from recsys_assets.files import log_tail, write_json

MARK = "RECSYS_PROCESS_MARK"
#: Seconds by which two readings of a create time may differ; the kernel counts ticks since boot.
CREATE_TIME_TOLERANCE = 1.0


class ProcessError(RuntimeError):
    """A local part could not be started or stopped; the message names the remedy."""


class PortInUse(ProcessError):
    """Another process holds a port that a part needs."""


@dataclass(frozen=True)
class Port:
    """A port that a part listens on, and the setting that changes it."""

    number: int
    variable: str  # RECSYS_…_PORT
    host: str = "127.0.0.1"


@dataclass(frozen=True)
class Record:
    """The content of ``<run>/<name>.json``: a started process."""

    name: str
    pid: int
    create_time: float  # unix seconds
    mark: str
    log: str
    command: list[str] = field(default_factory=list)

    def process(self) -> psutil.Process | None:
        """Return the process that was started; None if it has ended.

        A process with a reused pid is not returned.
        """
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.create_time) > CREATE_TIME_TOLERANCE:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.NoSuchProcess:
            return None


def read_record(run: Path, name: str) -> Record | None:
    """Return the last recorded start of a part; None without a record.

    Records are written atomically, so a crash leaves no broken one.
    """
    path = run / f"{name}.json"
    if not path.is_file():
        return None
    return Record(**json.loads(path.read_text()))


def spawn(
    name: str,
    command: Sequence[str],
    *,
    run: Path,
    log: Path,
    environment: Mapping[str, str],
    cwd: Path | None = None,
) -> Record:
    """Start a process in its own session and record it.

    Its output goes to ``log``; the previous log is kept as ``<log>.1``.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        os.replace(log, log.with_name(log.name + ".1"))
    mark = f"{run}:{name}"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**environment, MARK: mark},
            cwd=cwd,
            start_new_session=True,
        )
    process.returncode = 0  # it outlives this process on purpose, and Popen must not warn
    try:
        created = psutil.Process(process.pid).create_time()
    except psutil.NoSuchProcess:
        created = time.time()
    record = Record(name, process.pid, created, mark, str(log), list(command))
    write_json(run / f"{name}.json", asdict(record))
    return record


def wait_ready(record: Record, ready: Callable[[], bool], limit: float) -> float:
    """Wait until ``ready()`` and return the seconds.

    Raises:
        ProcessError: the process ended, or was not ready within ``limit`` seconds. The message
            holds the end of its log.
    """
    start = time.monotonic()
    while True:
        if record.process() is None:
            raise ProcessError(
                f"{record.name} ended while it was starting; see "
                f"{record.log}:\n{log_tail(record.log)}"
            )
        if ready():
            return time.monotonic() - start
        if time.monotonic() - start > limit:
            raise ProcessError(
                f"{record.name} was not ready within {limit:.0f} s; see {record.log}:\n"
                f"{log_tail(record.log)}"
            )
        time.sleep(0.1)


def marked(mark: str) -> list[psutil.Process]:
    """Return all living processes that have the mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # gone meanwhile, or another user's
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill_marked(mark: str) -> None:
    """End all processes that have the mark at once; those that are gone meanwhile are no error."""
    _signal(set(marked(mark)), signal.SIGKILL)


def _members(record: Record) -> set[psutil.Process]:
    members = set(marked(record.mark))
    process = record.process()
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            members |= {process, *process.children(recursive=True)}
    return {member for member in members if member.pid != os.getpid()}


def _signal(processes: set[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def stop(record: Record, grace: float = 10.0) -> bool:
    """End a process and its descendants; return whether anything was running.

    SIGTERM goes to the process first, then to the rest, then SIGKILL. A process with a reused pid
    receives no signal.
    """
    members = _members(record)
    root = record.process()
    if root is not None:  # the process ends its children itself, in its own order
        _signal({root}, signal.SIGTERM)
        psutil.wait_procs([root], timeout=grace)
    for number, timeout in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
        left = {
            m
            for m in members | _members(record)
            if m.is_running() and m.status() != psutil.STATUS_ZOMBIE
        }
        if not left:
            break
        _signal(left, number)
        psutil.wait_procs(list(left), timeout=timeout)
    return bool(members)


def stop_recorded(run: Path, name: str, grace: float = 10.0) -> bool:
    """Stop a recorded part and delete its record.

    Returns:
        Whether anything was running.

    Raises:
        ProcessError: a process survived SIGKILL.
    """
    record = read_record(run, name)
    if record is None:
        return False
    was_running = stop(record, grace)
    left = _members(record)
    if left:
        raise ProcessError(
            f"{name} could not be ended: {', '.join(str(p.pid) for p in left)} still run; "
            "end them by hand"
        )
    (run / f"{name}.json").unlink(missing_ok=True)
    return was_running


def port_holder(port: int) -> str | None:
    """Return the process on a port, as "pid 12 (redis-server)"; None if unknown."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and connection.pid
        ):
            try:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.NoSuchProcess:
                return None
    return None


def require_free(name: str, ports: Sequence[Port]) -> None:
    """Verify that no other process holds the ports.

    Raises:
        PortInUse: one is in use. The message names the port, its holder and the setting that
            changes it.
    """
    for port in ports:
        family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((port.host, port.number))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                holder = port_holder(port.number)
                raise PortInUse(
                    f"{name} cannot start: port {port.number} ({port.variable}) is in use"
                    f"{f' by {holder}' if holder else ''}; end that process, set {port.variable} "
                    "to a free port, or set RECSYS_PORT_OFFSET=100 to move every port of this home"
                ) from None


def answers(host: str, port: int, timeout: float = 0.5) -> bool:
    """Return whether a process accepts connections at an address."""
    try:
        with socket.create_connection((host, port), timeout=timeout):
            return True
    except OSError:
        return False
