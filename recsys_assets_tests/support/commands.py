"""Run `recsys` as a user does, with the settings that a test gives and no others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from recsys_assets.settings import PROJECT_ROOT


def environment_with(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's variables without any setting, and these."""
    own = ("RECSYS_", "DAGSTER_")
    return {**{n: v for n, v in os.environ.items() if not n.startswith(own)}, **settings}


def recsys(
    environment: Mapping[str, str], *arguments: str, limit: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; limit: seconds."""
    return subprocess.run(
        [sys.executable, "-m", "recsys_assets.cli.main", *arguments],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=limit,
    )
