"""Test the cgroups of a node on both versions of the kernel's interface, in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.cluster import cgroups
from tools.cluster.commands import ClusterError


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """Version 1: a folder per controller, and a link for one that shares a folder."""
    for name in ("cpu,cpuacct", "cpuset", "memory", "pids", "unified"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    for name in ("cpu", "cpuacct"):
        (tmp_path / name).symlink_to("cpu,cpuacct")
    (tmp_path / "cpuset/cpuset.cpus").write_text("0-3")
    (tmp_path / "cpuset/cpuset.mems").write_text("0")
    return tmp_path


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Version 2: one hierarchy."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
    (tmp_path / "cgroup.subtree_control").touch()
    (tmp_path / "system.slice").mkdir()
    return tmp_path


def test_version_1_has_a_group_per_controller_with_processors(first: Path) -> None:
    assert cgroups.version(first) == 1 and cgroups.absent(first) == []
    cgroups.make("node", first)
    made = {str(group.relative_to(first)) for group in cgroups.groups("node", first)}
    assert made == {
        f"{name}/node" for name in ("cpu,cpuacct", "cpuset", "memory", "pids", "unified")
    }
    assert (first / "cpuset/node/cpuset.cpus").read_text() == "0-3"
    for file in (first / "cpuset/node").iterdir():  # the kernel removes them with the folder
        file.unlink()
    (first / "memory/node/kubepods/pod1").mkdir(parents=True)
    cgroups.remove("node", first)
    assert cgroups.groups("node", first) == []


def test_version_2_has_one_group_with_the_controllers_enabled(second: Path) -> None:
    assert cgroups.version(second) == 2 and cgroups.absent(second) == []
    cgroups.make("node", second)
    assert (second / "cgroup.subtree_control").read_text() == "+cpu +cpuset +memory +pids"
    assert cgroups.groups("node", second) == [second / "node"]
    (second / "node/kubepods").mkdir()
    cgroups.remove("node", second)
    assert cgroups.groups("node", second) == []


def test_missing_controllers_are_named(first: Path) -> None:
    (first / "pids/cgroup.procs").unlink()
    (first / "pids").rmdir()
    assert cgroups.absent(first) == ["pids"]


def test_a_group_that_is_in_use_is_named(first: Path) -> None:
    cgroups.make("node", first)
    with pytest.raises(ClusterError, match=r"cpuset/node"):
        cgroups.remove("node", first, limit=0.2)
