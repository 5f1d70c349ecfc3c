"""Define names, addresses and folders of a cluster; all of them follow from its name and slot."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tools.cluster.commands import ClusterError, environment_path

#: Clusters that can run side by side.
SLOTS = range(16)
NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")
DEFAULT_NAME = "recsys"
HOME_VARIABLE = "CLUSTER_HOME"
#: In the folder of a cluster: its slot.
RECORD = "cluster.json"


def home() -> Path:
    """Return the folder of all clusters; each has a folder of its own in it while it runs."""
    return environment_path(HOME_VARIABLE, Path("/var/lib/recsys-clusters"))


@dataclass(frozen=True)
class Node:
    """One node: a network namespace with a kubelet, a containerd, kube-proxy and kube-router."""

    name: str
    address: str
    pods: str  # subnet
    labels: str
    taints: Sequence[dict[str, str]] = ()


@dataclass(frozen=True)
class Cluster:
    """Names, addresses and folders of one cluster.

    Attributes:
        name: chosen by its user.
        slot: number among the clusters of this machine, from which all subnets follow.
    """

    name: str
    slot: int

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ClusterError(
                f"{self.name!r} is no name for a cluster: at most 20 of a-z, 0-9 and -, a letter "
                "first"
            )

    @property
    def folder(self) -> Path:
        """Return the folder of everything that the cluster writes."""
        return home() / self.name

    @property
    def pki(self) -> Path:
        """Return the folder of keys and certificates."""
        return self.folder / "pki"

    @property
    def logs(self) -> Path:
        """Return the folder with one log per component."""
        return self.folder / "logs"

    @property
    def interface(self) -> str:
        """Return the host's interface into the cluster; it ends with the cluster."""
        return f"recsys-k8s{self.slot}"

    @property
    def network(self) -> str:
        """Return the subnet of the nodes and of the host's address among them."""
        return f"10.250.{self.slot}.0/24"

    @property
    def host(self) -> str:
        """Return the address at which pods reach this machine."""
        return f"10.250.{self.slot}.1"

    @property
    def control(self) -> str:
        """Return the address of the API server: that of the first node."""
        return f"10.250.{self.slot}.2"

    @property
    def switch(self) -> str:
        """Return the address from which the supervisor asks the API server."""
        return f"10.250.{self.slot}.254"

    @property
    def url(self) -> str:
        """Return the address of the API."""
        return f"https://{self.control}:6443"

    @property
    def pods(self) -> str:
        """Return the subnet of all pods."""
        return f"10.244.{2 * self.slot}.0/23"

    @property
    def services(self) -> str:
        """Return the subnet of Services."""
        return f"10.96.{self.slot}.0/24"

    @property
    def first_service(self) -> str:
        """Return the address of the Service ``kubernetes``."""
        return f"10.96.{self.slot}.1"

    @property
    def dns(self) -> str:
        """Return the address of the Service ``kube-dns``."""
        return f"10.96.{self.slot}.10"

    @cached_property
    def nodes(self) -> tuple[Node, Node]:
        """Return the two nodes; the control plane runs beside the first."""
        return (
            Node(
                "cpu0",
                self.control,
                f"10.244.{2 * self.slot}.0/24",
                "recsys/compute=cpu,topology.kubernetes.io/zone=a",
            ),
            Node(
                "gpu0",
                f"10.250.{self.slot}.3",
                f"10.244.{2 * self.slot + 1}.0/24",
                "recsys/compute=gpu,topology.kubernetes.io/zone=b",
                ({"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},),
            ),
        )

    def node_folder(self, node: Node) -> Path:
        """Return the folder of a node."""
        return self.folder / node.name

    def socket(self, node: Node) -> Path:
        """Return the socket of a node's containerd."""
        return self.node_folder(node) / "containerd.sock"

    def cgroup(self, node: Node) -> str:
        """Return the name of the cgroup of a node's pods."""
        return f"recsys-cluster-{self.name}-{node.name}"

    def kubeconfig(self, user: str = "admin") -> Path:
        """Return the file by which a user reaches the API."""
        return self.folder / f"{user}.kubeconfig"

    @property
    def record(self) -> Path:
        """Return the file that says which slot the cluster has and which process keeps it."""
        return self.folder / RECORD

    @property
    def lock(self) -> Path:
        """Return the file that the keeping process locks while it lives."""
        return self.folder / "keeper.lock"


def recorded(name: str) -> Cluster | None:
    """Return a cluster by its folder; None where there is none of that name."""
    try:
        slot = json.loads((home() / name / RECORD).read_text())["slot"]
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return Cluster(name, slot)


def all_recorded() -> list[Cluster]:
    """Return all clusters that have a folder."""
    found = (recorded(folder.name) for folder in sorted(home().glob("*/")))
    return [cluster for cluster in found if cluster is not None]
