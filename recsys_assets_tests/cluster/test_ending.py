"""Test that a cluster leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tools.cluster import cgroups, lifecycle
from tools.cluster.commands import wait_until
from tools.cluster.layout import Cluster, Node

pytestmark = pytest.mark.slow


def quiet(line: str) -> None:
    pass


def processes(cluster: Cluster) -> list[int]:
    """Return the processes whose command line or network is the cluster's."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"{cluster.folder}/" in line or f"\0{cluster.name}\0{cluster.slot}" in line:
            found.append(int(folder.name))
    return found


def left(cluster: Cluster) -> dict[str, list[str]]:
    """Return what is there of a cluster, by kind; empty where nothing is."""
    shown = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/self/mountinfo").read_text()
    found = {
        "processes": [str(one) for one in processes(cluster)],
        "interfaces": [line for line in shown.splitlines() if cluster.interface in line],
        "routes": [line for line in routes.splitlines() if cluster.interface in line],
        "mounts": [line for line in mounts.splitlines() if str(cluster.folder) in line],
        "namespaces": [
            str(path) for node in cluster.nodes for path in Path("/run/netns").glob(node.name)
        ],
        "cgroups": [
            str(group) for node in cluster.nodes for group in cgroups.groups(cluster.cgroup(node))
        ],
        "folders": [str(cluster.folder)] if cluster.folder.exists() else [],
    }
    return {kind: names for kind, names in found.items() if names}


def put_a_process_in(cluster: Cluster, node: Node) -> None:
    """Move a process of the cluster into a group below its node's, as a kubelet does with a pod."""
    config = f"{cluster.node_folder(node)}/containerd.toml"
    (process,) = [
        one for one in processes(cluster) if config in Path(f"/proc/{one}/cmdline").read_text()
    ]
    for group in cgroups.groups(cluster.cgroup(node)):
        pod = group / "kubepods" / "pod1"
        pod.mkdir(parents=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            for folder in (group / "kubepods", pod):
                if (folder / name).exists():
                    (folder / name).write_text((group / name).read_text())
        (pod / "cgroup.procs").write_text(str(process))


def outside() -> dict[str, object]:
    """Return what a kubelet or containerd would change on the machine."""
    folders = (
        "/run",
        "/run/containerd",
        "/var/lib",
        "/var/lib/cni",
        "/var/log",
        "/var/lib/kubelet",
    )
    settings = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
    return {
        **{name: Path("/proc/sys", name).read_text() for name in settings},
        **{name: sorted(os.listdir(name)) for name in folders if Path(name).is_dir()},
    }


def test_down_leaves_nothing(scripted: Path) -> None:
    before = outside()
    cluster = lifecycle.up("one", quiet)
    assert set(left(cluster)) == {"processes", "interfaces", "routes", "cgroups", "folders"}
    put_a_process_in(cluster, cluster.nodes[0])
    assert lifecycle.down("one", quiet)
    assert left(cluster) == {}
    assert not scripted.exists()
    assert outside() == before
    assert not lifecycle.down("one", quiet)


def test_two_clusters_run_side_by_side(scripted: Path) -> None:
    one, two = lifecycle.up("one", quiet), lifecycle.up("two", quiet)
    assert (one.slot, one.pods, one.services) != (two.slot, two.pods, two.services)
    assert [(s.name, s.state) for s in lifecycle.status()] == [
        ("one", "running"),
        ("two", "running"),
    ]
    for cluster in (one, two):  # each node answers at its own address
        for node in cluster.nodes:
            with pytest.raises(ConnectionRefusedError):  # an answer: nothing listens there
                socket.create_connection((node.address, 9), timeout=5)
    lifecycle.down("one", quiet)
    assert left(one) == {}
    assert [s.name for s in lifecycle.status()] == ["two"]
    lifecycle.down("two", quiet)
    assert left(two) == {}


@pytest.mark.parametrize("victim", ["supervisor", "unshare"])
def test_a_cluster_whose_supervisor_was_killed_leaves_only_its_logs(
    scripted: Path, victim: str
) -> None:
    cluster = lifecycle.up("one", quiet)
    put_a_process_in(cluster, cluster.nodes[1])
    kept = int(cluster.lock.read_text())
    (namespaces,) = Path(f"/proc/{kept}/task/{kept}/children").read_text().split()
    (inside,) = Path(f"/proc/{namespaces}/task/{namespaces}/children").read_text().split()
    os.kill(int(inside if victim == "supervisor" else namespaces), signal.SIGKILL)
    wait_until(lambda: not processes(cluster), "the end of all processes", 60.0)
    assert set(left(cluster)) == {"folders"}
    assert [s.state for s in lifecycle.status()] == ["dead"]
    assert lifecycle.down("one", quiet)
    assert left(cluster) == {}


def test_what_a_killed_keeper_left_is_removed_by_the_next_command(scripted: Path) -> None:
    cluster = lifecycle.up("one", quiet)
    put_a_process_in(cluster, cluster.nodes[0])
    os.kill(int(cluster.lock.read_text()), signal.SIGKILL)
    wait_until(lambda: "processes" not in left(cluster), "the end of all processes", 30.0)
    time.sleep(0.5)
    assert set(left(cluster)) <= {"cgroups", "folders"}
    said: list[str] = []
    other = lifecycle.up("two", said.append)
    assert "two: removed what the killed cluster one left" in said
    assert left(cluster) == {} or (other.slot == cluster.slot and not cluster.folder.exists())
    lifecycle.down("two", quiet)
    assert left(other) == {}
