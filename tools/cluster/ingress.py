"""Install an ingress controller: Traefik, which reads nginx's annotations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tools.cluster import binaries
from tools.cluster.images import static
from tools.cluster.kubernetes_api import get, kubectl, load, wait_rolled_out
from tools.cluster.layout import Cluster

MANIFEST = Path(__file__).parent / "manifests" / "traefik.yaml"
NAMESPACE = "kube-system"


def install(cluster: Cluster, say: Callable[[str], None]) -> str:
    """Build, load and start the controller, and wait until it is ready.

    Args:
        cluster: that runs.
        say: receives a line when the program is built.

    Returns:
        Address of its Service, which this machine reaches on ports 80 and 443.
    """
    binaries.build(say, (binaries.TRAEFIK,))
    load(cluster, static.write(binaries.TRAEFIK), cluster.nodes[:1])
    kubectl(cluster, "apply", "--server-side", f"--filename={MANIFEST}")
    wait_rolled_out(cluster, NAMESPACE, "traefik", 300.0)
    service = get(cluster, "service/traefik", f"--namespace={NAMESPACE}")
    return str(service["spec"]["clusterIP"])
