"""Run the real helm binary."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys_assets.settings import PROJECT_ROOT
from tools.cluster import helm_program
from tools.cluster.commands import ClusterError

CHARTS = PROJECT_ROOT / "helm"
#: Schemas of the custom resources that the charts use; not every checkout has them beside it.
DEFINITIONS = PROJECT_ROOT.parent / "shared" / "crds"


@pytest.fixture(scope="session")
def helm_binary() -> Path:
    try:
        return helm_program.helm()
    except ClusterError as error:
        pytest.skip(str(error))


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


@pytest.fixture
def refused(helm_binary: Path) -> Callable[..., str]:
    """Render a chart with its test's values and others; return the error."""

    def run(chart: str, *arguments: str) -> str:
        done = subprocess.run(
            [
                *(str(helm_binary), "template", "release", str(CHARTS / chart)),
                *("--values", str(CHARTS / chart / "ci" / "test-values.yaml"), *arguments),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode != 0, f"{chart} accepts {' '.join(arguments)}"
        return done.stderr

    return run
