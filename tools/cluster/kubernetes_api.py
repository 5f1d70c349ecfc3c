"""Call a cluster's API by kubectl, and its nodes' containerd by ctr."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tools.cluster.binaries import KUBERNETES
from tools.cluster.commands import ClusterError, run, without_proxies
from tools.cluster.layout import Cluster, Node

#: Where containerd keeps the images of pods.
NAMESPACE = "k8s.io"


def kubectl_command(cluster: Cluster) -> list[str]:
    """Return the begin of a kubectl command line."""
    return [str(KUBERNETES.path), "kubectl", "--kubeconfig", str(cluster.kubeconfig())]


def kubectl(
    cluster: Cluster, *arguments: str, given: str | None = None, limit: float = 120.0
) -> str:
    """Run kubectl as the cluster's administrator and return what it prints.

    Raises:
        ClusterError: it failed; the message holds its words.
    """
    command = [*kubectl_command(cluster), *arguments]
    return run(*command, given=given, limit=limit, environment=without_proxies())


def get(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    """Return what ``kubectl get`` tells, as an object."""
    told: dict[str, Any] = json.loads(kubectl(cluster, "get", "--output=json", *arguments))
    return told


def apply(cluster: Cluster, *manifests: dict[str, Any]) -> str:
    """Apply manifests; the API validates their fields strictly."""
    text = "\n---\n".join(json.dumps(manifest) for manifest in manifests)
    return kubectl(
        cluster, "apply", "--server-side", "--validate=strict", "--filename=-", given=text
    )


def wait_rolled_out(cluster: Cluster, namespace: str, deployment: str, limit: float) -> None:
    """Wait until all pods of a deployment are ready, for some seconds at most."""
    rollout = ("rollout", "status", f"deployment/{deployment}", f"--namespace={namespace}")
    kubectl(cluster, *rollout, f"--timeout={limit:.0f}s", limit=limit + 10)


def answers(cluster: Cluster) -> bool:
    """Return whether the API server is ready."""
    try:
        return kubectl(cluster, "get", "--raw=/readyz", "--request-timeout=2s", limit=30.0) == "ok"
    except ClusterError:
        return False


def ready_nodes(cluster: Cluster) -> list[str]:
    """Return the names of the nodes that are ready."""
    return [
        node["metadata"]["name"]
        for node in get(cluster, "nodes")["items"]
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
    ]


def load(cluster: Cluster, image: Path, nodes: Iterable[Node] | None = None) -> float:
    """Import an OCI layout tar into the nodes, and return the seconds."""
    begin = time.monotonic()
    for node in nodes or cluster.nodes:
        address = str(cluster.socket(node))
        run(
            "ctr",
            "--address",
            address,
            "--namespace",
            NAMESPACE,
            "images",
            "import",
            image,
            limit=3600,
        )
    return time.monotonic() - begin
