"""Make and remove the cgroups of the nodes, on version 1 and version 2 of cgroups."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from tools.cluster.commands import ClusterError

ROOT = Path("/sys/fs/cgroup")
#: Controllers without which a kubelet does not start.
NEEDED = ("cpu", "cpuset", "memory", "pids")


def version(root: Path = ROOT) -> int:
    """Return 2 where the root is the unified hierarchy, else 1."""
    return 2 if (root / "cgroup.controllers").exists() else 1


def absent(root: Path = ROOT) -> list[str]:
    """Return the controllers that a kubelet needs and that are not there."""
    if version(root) == 2:
        there = (root / "cgroup.controllers").read_text().split()
        return [name for name in NEEDED if name not in there]
    return [name for name in NEEDED if not (root / name).is_dir()]


def make(name: str, root: Path = ROOT) -> None:
    """Make one cgroup in every hierarchy.

    Raises:
        ClusterError: version 2 delegates no controllers here.
    """
    if version(root) == 2:
        try:
            (root / "cgroup.subtree_control").write_text(
                " ".join(f"+{controller}" for controller in NEEDED)
            )
        except OSError as error:
            raise ClusterError(
                f"{root}/cgroup.subtree_control: {error}. The root's cgroup of this container "
                "holds processes; start the container with --cgroupns=host"
            ) from error
        (root / name).mkdir(exist_ok=True)
        return
    for hierarchy in root.iterdir():
        if hierarchy.is_symlink() or not (hierarchy / "cgroup.procs").exists():
            continue
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group: no process could enter
            if (hierarchy / file).exists():
                (group / file).write_text((hierarchy / file).read_text())


def groups(name: str, root: Path = ROOT) -> list[Path]:
    """Return the folders of a cgroup, one per hierarchy."""
    found = [root / name, *(hierarchy / name for hierarchy in root.glob("*/"))]
    return [group for group in found if group.is_dir() and not group.parent.is_symlink()]


def remove(name: str, root: Path = ROOT, limit: float = 20.0) -> None:
    """Remove a cgroup with those below it, from every hierarchy.

    A group can be removed as soon as the kernel has ended its last process.

    Raises:
        ClusterError: a process is still in it after ``limit`` seconds.
    """
    end = time.monotonic() + limit
    while left := groups(name, root):
        for group in left:
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        if left and time.monotonic() > end:
            raise ClusterError(f"processes are still in the cgroups {', '.join(map(str, left))}")
        time.sleep(0.05)
