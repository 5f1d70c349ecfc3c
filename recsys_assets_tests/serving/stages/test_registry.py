"""The stages of an answer in the environment of Triton, which has fewer libraries."""

from __future__ import annotations

import subprocess

import pytest

from recsys_assets.serving.stages.registry import STAGES
from recsys_assets.settings import PROJECT_ROOT, get_settings


def test_every_stage_can_be_imported_where_triton_runs():
    python = get_settings().serving_python
    if not python.exists():
        pytest.fail(f"{python} is missing: make setup")
    done = subprocess.run(
        [
            str(python),
            "-c",
            "from recsys_assets.serving.stages.registry import STAGES, stage_class\n"
            "print([stage_class(name).name for name in STAGES])",
        ],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(list(STAGES))
