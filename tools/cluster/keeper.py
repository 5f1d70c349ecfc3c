"""Hold a cluster's namespaces, and clean up after their end: one process on the host per cluster.

The kernel ends everything in the namespaces with their first process. What it leaves are cgroups
and the cluster's folder. The keeper removes both. If the keeper itself was killed, the namespaces
end too, and the next command of any cluster removes what is left.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO

from tools.cluster import cgroups, private_network
from tools.cluster.commands import die_with_parent, remove_tree, wait_until
from tools.cluster.layout import Cluster

ROOT = Path(__file__).resolve().parents[2]


def alive(cluster: Cluster) -> bool:
    """Return whether the keeper of a cluster lives: whether its lock is held."""
    try:
        with cluster.lock.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def clean(cluster: Cluster, *, with_folder: bool = True) -> None:
    """Remove what the kernel does not: cgroups, folders outside of the cluster's, its own folder.

    Raises:
        ClusterError: something is still in use.
    """
    interface = Path("/sys/class/net", cluster.interface)
    wait_until(lambda: not interface.exists(), f"the end of {cluster.interface}", 60.0)
    for node in cluster.nodes:
        cgroups.remove(cluster.cgroup(node))
    if (made := cluster.folder / "made-folders").exists():
        for name in made.read_text().split():
            folder = Path(name)
            if folder.is_dir() and not any(folder.iterdir()) and not folder.is_mount():
                folder.rmdir()
    if with_folder:
        for path in sorted(cluster.folder.iterdir()):
            if path not in (cluster.record, cluster.lock):
                remove_tree(path)
        # the record goes last: if this process is killed before, the next command finds the rest
        remove_tree(cluster.folder)
        if cluster.folder.parent.is_dir() and not any(cluster.folder.parent.glob("*/")):
            remove_tree(cluster.folder.parent)


def _start_supervisor(cluster: Cluster, log: IO[bytes]) -> subprocess.Popen[bytes]:
    own = ("--mount", "--pid", "--net", "--mount-proc", "--propagation", "private")
    program = [sys.executable, "-m", "tools.cluster.supervisor", cluster.name, str(cluster.slot)]
    return subprocess.Popen(
        ["unshare", *own, "--fork", "--kill-child", *program],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )


def _child_of(process: int) -> int | None:
    """Return the first child of a process."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except FileNotFoundError:
        return None
    return int(children[0]) if children else None


def keep(cluster: Cluster) -> None:
    """Run a cluster until SIGTERM or until its supervisor ends, then clean up."""
    lock = cluster.lock.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    with (cluster.logs / "supervisor.log").open("ab") as log:
        namespaces = _start_supervisor(cluster, log)
    try:
        wait_until(lambda: _child_of(namespaces.pid) is not None, "the supervisor", 30.0)
        private_network.connect_host(cluster, namespaces.pid)
        while namespaces.poll() is None:
            # again and again: a process 1 ignores the signal until it has a handler
            if stopped and (child := _child_of(namespaces.pid)) is not None:
                os.kill(child, signal.SIGTERM)
            time.sleep(0.2)
    finally:
        namespaces.kill()
        namespaces.wait()
        # the logs of a cluster that ended by itself stay until the next `up` or `down`
        clean(cluster, with_folder=stopped)


def main(name: str, slot: str) -> None:
    """Run the keeper as a process of its own."""
    keep(Cluster(name, int(slot)))


if __name__ == "__main__":
    main(*sys.argv[1:])
