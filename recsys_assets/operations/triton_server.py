"""Start tritonserver from the serving environment's wheel, in explicit mode.

The wheel (nvidia-pytriton) holds the server, the Python backend and its stubs; pytriton's own API
is not used. The stubs link against the interpreter that the serving environment was made from. So
that interpreter's library folder goes first on the library path, and the environment's ``bin``
first on PATH, where the stub finds ``pyvenv.cfg``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TypedDict

from recsys_assets.files import replacing
from recsys_assets.operations.processes import (
    Port,
    ProcessError,
    Record,
    read_record,
    require_free,
    spawn,
    stop_recorded,
    wait_ready,
)
from recsys_assets.serving.triton.model_control import READY_WHILE_LOADING, server_arguments
from recsys_assets.serving.triton.served import Mode, is_loaded
from recsys_assets.settings import Settings

#: Seconds until the server must be ready; with 17 models it takes about 8 on two idle cores.
READY_LIMIT = 120.0
STOP_GRACE = 15.0
SHARED_MEMORY = Path("/dev/shm")
_PROBE = (
    "import json, sysconfig; print(json.dumps({'site': sysconfig.get_paths()['purelib'], "
    "'version': sysconfig.get_python_version(), 'libdir': sysconfig.get_config_var('LIBDIR')}))"
)
#: One request runs through 15 small models: threads inside a model only compete for the cores.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


def servable_models(repository: Path, mode: Mode) -> list[str]:
    """Return the models of a repository to load.

    They are those that ``mode`` serves and that have a configuration and at least one version.
    """
    if not repository.is_dir():
        return []
    return sorted(
        folder.name
        for folder in repository.iterdir()
        if is_loaded(folder.name, mode)
        and (folder / "config.pbtxt").is_file()
        and any(v.name.isdigit() and v.is_dir() for v in folder.iterdir())
    )


class Interpreter(TypedDict):
    """Paths of the serving environment's interpreter and of the wheel in it."""

    site: str
    version: str
    libdir: str
    wheel: str


class TritonServer:
    """One local Triton server on a model repository.

    Args:
        settings: addresses, the home and the serving environment's interpreter.
        repository: the live model repository (default: ``settings.model_repository``); created if
            absent.
        name: of the record and the log, where several servers run in one home.
    """

    def __init__(
        self, settings: Settings, repository: Path | None = None, name: str = "triton"
    ) -> None:
        self.settings = settings
        self.repository = Path(repository or settings.model_repository)
        self.name = name
        self.run = settings.home / "run"
        self.log = settings.home / "logs" / f"{name}.log"
        # unique per server and stable over restarts, to find what a killed server left
        identity = f"{settings.home.absolute()}:{settings.triton_http_port}"
        self.shared_memory_prefix = f"recsys_{hashlib.sha256(identity.encode()).hexdigest()[:12]}"

    @property
    def ports(self) -> list[Port]:
        """Return the ports for HTTP, gRPC and metrics."""
        s = self.settings
        return [
            Port(s.triton_http_port, "RECSYS_TRITON_HTTP_PORT", s.triton_host),
            Port(s.triton_grpc_port, "RECSYS_TRITON_GRPC_PORT", s.triton_host),
            Port(s.triton_metrics_port, "RECSYS_TRITON_METRICS_PORT", s.triton_host),
        ]

    @cached_property
    def _interpreter(self) -> Interpreter:
        """Return the serving environment's paths.

        Raises:
            ProcessError: the interpreter or the wheel is missing.
        """
        python = self.settings.serving_python
        if not python.exists():
            raise ProcessError(
                f"the serving environment's interpreter {python} does not exist; run `make "
                "setup` or set RECSYS_SERVING_PYTHON"
            )
        probed = subprocess.run(
            [str(python), "-c", _PROBE], capture_output=True, text=True, timeout=60, check=True
        )
        found = json.loads(probed.stdout)
        wheel = Path(found["site"]) / "pytriton" / "tritonserver"
        if not (wheel / "bin" / "tritonserver").exists():
            raise ProcessError(
                f"{wheel} holds no tritonserver: nvidia-pytriton is not installed in "
                f"{python.parent.parent}; run `make setup`"
            )
        return {
            "site": found["site"],
            "version": found["version"],
            "libdir": found["libdir"],
            "wheel": str(wheel),
        }

    @property
    def backends(self) -> Path:
        """Return the backend directory."""
        return self.settings.home / "run" / "triton" / "backends"

    def prepare(self) -> None:
        """Create the repository and the backend directory in the server's layout.

        Raises:
            ProcessError: the wheel has no Python backend for the serving environment's Python.
        """
        self.repository.mkdir(parents=True, exist_ok=True)
        wheel = Path(self._interpreter["wheel"])
        sources = {
            name: wheel / "backends" / "python" / name
            for name in ("libtriton_python.so", "triton_python_backend_utils.py")
        }
        stub = "triton_python_backend_stub"
        sources[stub] = wheel / "python_backend_stubs" / self._interpreter["version"] / stub
        folder = self.backends / "python"
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in sources.items():
            if not source.exists():
                raise ProcessError(
                    f"{source} is missing: the wheel has no Python backend for Python "
                    f"{self._interpreter['version']}; create the serving environment with another "
                    "Python"
                )
            with replacing(folder / name) as temporary:
                if name != stub:
                    temporary.symlink_to(source)
                    continue
                # copied, because Triton removes the stub's read permission and the installer's
                # cache shares the wheel's file
                if not source.stat().st_mode & stat.S_IRUSR:
                    source.chmod(0o755)
                shutil.copyfile(source, temporary)
                temporary.chmod(0o755)

    def _from_run(self, folder: Path) -> str:
        """Return a folder relative to the server's working directory.

        Triton starts a model's stub with a shell command that quotes no path. A home with a space
        in its name works only if the command does not hold that name.

        Raises:
            ProcessError: the relative path holds a character with a meaning to the shell.
        """
        relative = os.path.relpath(folder.absolute(), self.run.absolute())
        if shlex.quote(relative) != relative:
            raise ProcessError(
                f"{self.name} cannot start: Triton takes no model repository at {folder}, because "
                f"its path from {self.run} has a space or another character of the shell; put it "
                "below RECSYS_HOME, or rename the folder"
            )
        return relative

    @property
    def command(self) -> list[str]:
        """Return the command line of the server."""
        s, wheel = self.settings, self._interpreter["wheel"]
        return [
            f"{wheel}/bin/tritonserver",
            f"--model-repository={self._from_run(self.repository)}",
            "--model-control-mode=explicit",
            *(
                f"--load-model={model}"
                for model in servable_models(self.repository, s.triton_models)
            ),
            "--disable-auto-complete-config",
            READY_WHILE_LOADING,
            f"--backend-directory={self._from_run(self.backends)}",
            f"--cache-directory={wheel}/caches",
            f"--backend-config=python,shm-region-prefix-name={self.shared_memory_prefix}",
            f"--http-address={s.triton_host}",
            f"--grpc-address={s.triton_host}",
            f"--metrics-address={s.triton_host}",
            f"--http-port={s.triton_http_port}",
            f"--grpc-port={s.triton_grpc_port}",
            f"--metrics-port={s.triton_metrics_port}",
            *server_arguments(s),
            "--allow-gpu-metrics=false",
            "--pinned-memory-pool-byte-size=0",
            "--exit-timeout-secs=10",
        ]

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables of the server and its stubs.

        They are the settings without the write token, which no model needs.
        """
        python = self.settings.serving_python
        values = {
            **(os.environ if base is None else base),
            **self.settings.environment(),
            **ONE_THREAD,
        }
        values.pop("RECSYS_TOKEN", None)
        libraries = [
            self._interpreter["libdir"],
            f"{self._interpreter['site']}/nvidia_pytriton.libs",
        ]
        values["LD_LIBRARY_PATH"] = ":".join(
            [*libraries, *filter(None, [values.get("LD_LIBRARY_PATH")])]
        )
        values["PATH"] = f"{python.parent}:{values.get('PATH', os.defpath)}"
        return values

    def ready(self) -> bool:
        """Return whether /v2/health/ready answers 200."""
        url = f"http://{self.settings.triton_host}:{self.settings.triton_http_port}/v2/health/ready"
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def spawn(self) -> Record:
        """Start without waiting.

        Stubs and shared memory of a killed server are removed first.
        """
        self.prepare()
        record = read_record(self.run, self.name)
        if record is not None and record.process() is None:
            stop_recorded(self.run, self.name)
        require_free(self.name, self.ports)
        self.clean_shared_memory()
        return spawn(
            self.name,
            self.command,
            run=self.run,
            log=self.log,
            environment=self.environment(),
            cwd=self.run,
        )

    def start(self, limit: float = READY_LIMIT) -> Record:
        """Start and wait until every model is ready.

        Raises:
            PortInUse: another process holds one of the three ports.
            ProcessError: the server ended or was not ready within ``limit`` seconds. The message
                holds the end of its log.
        """
        record = self.spawn()
        try:
            wait_ready(record, self.ready, limit)
        except ProcessError:
            self.stop()
            raise
        return record

    def stop(self, grace: float = STOP_GRACE) -> bool:
        """End the server with SIGTERM, then SIGKILL, and remove its shared memory.

        Returns:
            Whether it was running.
        """
        was_running = stop_recorded(self.run, self.name, grace)
        self.clean_shared_memory()
        return was_running

    def clean_shared_memory(self) -> list[str]:
        """Remove this server's shared memory regions, if it is not running.

        Returns:
            Names of the removed regions.
        """
        record = read_record(self.run, self.name)
        if record is not None and record.process() is not None:
            return []
        removed = []
        for region in sorted(SHARED_MEMORY.glob(f"{self.shared_memory_prefix}*")):
            with contextlib.suppress(FileNotFoundError):
                region.unlink()
                removed.append(region.name)
        return removed
