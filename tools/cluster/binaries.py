"""Build the programs of a cluster once, and keep them by version outside of git.

Each folder of ``go/`` is a Go module. A program is built again when its module changes, into
another folder, so that two checkouts do not take the program from each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.cluster.commands import ClusterError, environment_path

MODULES = Path(__file__).parent / "go"
CACHE_VARIABLE = "CLUSTER_CACHE"
#: A cold build of Kubernetes took 575 s on two cores; one of many times that is stuck.
LIMIT = 7200.0


def cache() -> Path:
    """Return the folder that keeps programs and image layers."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return environment_path(CACHE_VARIABLE, default / "recsys" / "cluster")


@dataclass(frozen=True)
class Program:
    """A program that is built from a Go module.

    Attributes:
        name: of the module's folder and of the program.
        requires: the module whose version names the program's; "" for code of our own alone.
        package: what is built.
    """

    name: str
    requires: str
    package: str = "."

    @property
    def module(self) -> Path:
        """Return the folder of the Go module."""
        return MODULES / self.name

    @property
    def version(self) -> str:
        """Return the version in go.mod."""
        if not self.requires:
            return "v0"
        text = (self.module / "go.mod").read_text()
        found = re.search(
            rf"^\s*(?:require )?{re.escape(self.requires)} (v\S+)", text, re.MULTILINE
        )
        if found is None:
            raise ClusterError(f"{self.module}/go.mod requires no {self.requires}")
        return found[1]

    @property
    def path(self) -> Path:
        """Return where the program lies once it is built."""
        digest = hashlib.sha256()
        for file in sorted(self.module.iterdir()):
            if file.suffix in (".go", ".mod", ".sum"):
                digest.update(f"{file.name} {file.stat().st_size}\n".encode() + file.read_bytes())
        return cache() / f"{self.name}-{self.version}-{digest.hexdigest()[:8]}" / self.name

    def flags(self) -> str:
        """Return the linker's flags: without debug symbols, and with the version."""
        if self.name != "kubernetes":
            return "-s -w"
        _, minor, _ = self.version.split(".")
        base = "k8s.io/component-base/version"
        values = {
            f"{base}.gitVersion": self.version,
            f"{base}.gitMajor": "1",
            f"{base}.gitMinor": minor,
            "k8s.io/client-go/pkg/version.gitVersion": self.version,
        }
        return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in values.items())])


KUBERNETES = Program("kubernetes", "k8s.io/kubernetes")
COREDNS = Program("coredns", "github.com/coredns/coredns")
KUBE_ROUTER = Program(
    "kube-router",
    "github.com/cloudnativelabs/kube-router/v2",
    "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
)
PAUSE = Program("pause", "")
PROGRAMS = (KUBERNETES, COREDNS, KUBE_ROUTER, PAUSE)
METRICS_SERVER = Program(
    "metrics-server", "sigs.k8s.io/metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"
)
PROMETHEUS = Program(
    "prometheus",
    "github.com/prometheus/prometheus",
    "github.com/prometheus/prometheus/cmd/prometheus",
)
ADAPTER = Program(
    "prometheus-adapter",
    "sigs.k8s.io/prometheus-adapter",
    "sigs.k8s.io/prometheus-adapter/cmd/adapter",
)
TRAEFIK = Program(
    "traefik", "github.com/traefik/traefik/v3", "github.com/traefik/traefik/v3/cmd/traefik"
)
#: What autoscalers read; as much work to build as all others, so that only who asks for it gets it.
METRICS = (METRICS_SERVER, PROMETHEUS, ADAPTER)


def missing(programs: Sequence[Program] = PROGRAMS) -> list[Program]:
    """Return the programs that have yet to be built."""
    return [program for program in programs if not program.path.exists()]


def build(say: Callable[[str], None], programs: Sequence[Program] = PROGRAMS) -> float:
    """Build what is missing, one program after the other, and return the seconds.

    Raises:
        ClusterError: Go is missing or a build failed.
    """
    begin = time.monotonic()
    for program in missing(programs):
        with locked(program.path.parent):
            if not program.path.exists():
                say(f"building {program.name} {program.version}, once; this may take ten minutes")
                since = time.monotonic()
                _build(program)
                say(f"built {program.name} {program.version} {time.monotonic() - since:.0f} s")
    return time.monotonic() - begin


def _build(program: Program) -> None:
    if shutil.which("go") is None:
        raise ClusterError(
            f"no Go compiler to build {program.name}: install Go 1.26 or later from your "
            "distribution or go.dev"
        )
    temporary = program.path.with_name(f".{program.name}.{os.getpid()}")
    command = ["go", "build", "-trimpath", f"-ldflags={program.flags()}", "-o", str(temporary)]
    try:
        done = subprocess.run(
            [*command, program.package],
            cwd=program.module,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        if done.returncode != 0:
            raise ClusterError(f"go build of {program.name} failed: {done.stderr[-3000:]}")
        os.replace(temporary, program.path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of the cache, which is made if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
