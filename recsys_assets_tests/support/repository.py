"""Make a folder a repository of one commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

IDENTITY = ("-c", "user.name=of the test", "-c", "user.email=test@example.org")


def commit_all(root: Path) -> None:
    """Make a repository of a folder and commit all of it."""
    for arguments in (("init", "-q"), ("add", "-A"), (*IDENTITY, "commit", "-qm", "all")):
        subprocess.run(["git", *arguments], cwd=root, check=True)
