"""Test names and addresses of clusters, and the reasons why one cannot run."""

from __future__ import annotations

import ipaddress
import itertools
import os
from pathlib import Path

import pytest

from tools.cluster import binaries, layout, lifecycle, obstacles, pin
from tools.cluster.commands import ClusterError
from tools.cluster.layout import SLOTS, Cluster


def subnets(cluster: Cluster) -> list[ipaddress.IPv4Network]:
    return [ipaddress.IPv4Network(one) for one in (cluster.network, cluster.pods, cluster.services)]


def test_no_two_clusters_share_an_address() -> None:
    all_subnets = [one for slot in SLOTS for one in subnets(Cluster("a", slot))]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(all_subnets, 2))


def test_nodes_lie_in_the_clusters_subnets() -> None:
    cluster = Cluster("a", 3)
    for node in cluster.nodes:
        assert ipaddress.ip_address(node.address) in ipaddress.ip_network(cluster.network)
        assert ipaddress.ip_network(node.pods).subnet_of(ipaddress.ip_network(cluster.pods))
    assert cluster.nodes[0].pods != cluster.nodes[1].pods
    assert len(cluster.interface) < 16  # the kernel's limit


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "a/b", "a" * 21])
def test_a_name_that_no_folder_or_group_can_have_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="no name for a cluster"):
        Cluster(name, 0)


def test_a_slot_whose_subnets_are_in_use_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(layout.HOME_VARIABLE, str(tmp_path))
    routes = [ipaddress.IPv4Network("10.250.0.0/30"), ipaddress.IPv4Network("10.244.2.0/24")]
    monkeypatch.setattr(lifecycle, "_routes", lambda: routes)
    assert lifecycle.free_slot() == 2
    monkeypatch.setattr(lifecycle, "_routes", lambda: [ipaddress.IPv4Network("10.0.0.0/8")])
    with pytest.raises(ClusterError, match="recsys cluster status"):
        lifecycle.free_slot()


def test_who_is_not_root_reads_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert obstacles.obstacles() == ["a cluster needs root: run it as root, for instance with sudo"]


def test_missing_packages_are_named_with_the_line_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(obstacles.shutil, "which", lambda name: None)
    monkeypatch.setattr(obstacles, "CNI_PLUGINS", "/nowhere")
    (reason,) = obstacles.obstacles()
    assert "apt-get install --no-install-recommends conntrack containerd" in reason
    assert "runc" in reason


def test_a_changed_module_is_another_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(binaries, "MODULES", tmp_path)
    monkeypatch.setenv(binaries.CACHE_VARIABLE, str(tmp_path / "cache"))
    module = tmp_path / "kubernetes"
    module.mkdir()
    (module / "go.mod").write_text("require (\n\tk8s.io/kubernetes v1.36.3\n)\n")
    before = binaries.KUBERNETES.path
    assert before.parent.name.startswith("kubernetes-v1.36.3-")
    assert "gitMinor=36" in binaries.KUBERNETES.flags()
    (module / "main.go").write_text("package main")
    assert binaries.KUBERNETES.path != before


def test_every_program_names_its_version() -> None:
    programs = (*binaries.PROGRAMS, *binaries.METRICS, binaries.TRAEFIK)
    assert all(program.version.startswith("v") for program in programs)


UPSTREAM = """module k8s.io/kubernetes

go 1.25.0

require (
	go.etcd.io/etcd/client/v3 v3.6.8
)

replace (
	k8s.io/api => ./staging/src/k8s.io/api
)
"""


def test_staging_modules_are_replaced_by_published_ones() -> None:
    written = pin.go_mod("v1.36.3", UPSTREAM)
    assert "\tk8s.io/api => k8s.io/api v0.36.3\n" in written
    assert "\tgo.etcd.io/etcd/server/v3 v3.6.8\n" in written
    with pytest.raises(ValueError, match="another form"):
        pin.go_mod("v1.36.3", "module k8s.io/kubernetes\n")
