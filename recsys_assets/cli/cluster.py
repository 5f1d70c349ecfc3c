"""Define ``recsys cluster``: a real Kubernetes on this machine, to try the charts on."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from recsys_assets.settings import PROJECT_ROOT

#: Form of a command that passes its options on.
PASSED_ON: dict[str, Any] = {
    "add_help_option": False,
    "context_settings": {"ignore_unknown_options": True, "allow_extra_args": True},
}


def cluster(context: typer.Context) -> None:
    """Run a Kubernetes of two nodes on this machine, to try the charts on.

    up, down, status, check, load, kubectl and helm; as root. It is a tool of the repository: an
    installed package does not hold it.
    """
    if not (PROJECT_ROOT / "tools" / "cluster").is_dir():
        raise typer.BadParameter(f"{PROJECT_ROOT} holds no tools/cluster: run it in a checkout")
    os.chdir(PROJECT_ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "tools.cluster", *context.args])
