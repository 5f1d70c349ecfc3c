"""Make the network of a cluster inside the supervisor's own network namespace.

That namespace is the switch: it holds the bridge, one link to each node's namespace, and one to the
host. The kernel removes all of it with the last process.
"""

from __future__ import annotations

from tools.cluster.commands import ClusterError, run, wait_until
from tools.cluster.layout import Cluster, Node

BRIDGE = "switch"
#: The end inside of the link that the keeper makes from the host's namespace.
UPLINK = "uplink"


def connect_host(cluster: Cluster, supervisor: int) -> None:
    """Link the host with the cluster: addresses of nodes, pods and Services, and nothing else."""
    name = cluster.interface
    peer = ("peer", "name", UPLINK, "netns", str(supervisor))
    run("ip", "link", "add", name, "type", "veth", *peer)
    run("ip", "address", "add", f"{cluster.host}/24", "dev", name)
    run("ip", "link", "set", name, "up")
    for node in cluster.nodes:
        run("ip", "route", "add", node.pods, "via", node.address, "dev", name)
    run("ip", "route", "add", cluster.services, "via", cluster.control, "dev", name)


def make_inside(cluster: Cluster) -> None:
    """Make the switch and the nodes' namespaces; call it as the supervisor."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{cluster.switch}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    wait_until(lambda: _exists(UPLINK), "the host's link", 30.0)
    run("ip", "link", "set", UPLINK, "master", BRIDGE, "up")
    for node in cluster.nodes:
        _connect(cluster, node)


def _exists(interface: str) -> bool:
    """Return whether this namespace has an interface; /sys shows those of the host."""
    try:
        run("ip", "link", "show", interface)
    except ClusterError:
        return False
    return True


def _connect(cluster: Cluster, node: Node) -> None:
    name = node.name
    run("ip", "netns", "add", name)
    peer = ("peer", "name", "eth0", "netns", name)
    run("ip", "link", "add", name, "master", BRIDGE, "type", "veth", *peer)
    run("ip", "link", "set", name, "up")
    inside = ("ip", "-n", name)
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "address", "add", f"{node.address}/24", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "route", "add", "default", "via", cluster.host)
    for other in cluster.nodes:
        if other != node:
            run(*inside, "route", "add", other.pods, "via", other.address)
    run(*in_namespace(node), "sysctl", "-qw", "net.ipv4.ip_forward=1")


def in_namespace(node: Node) -> tuple[str, ...]:
    """Return the begin of a command that runs in a node's network namespace.

    ``ip netns exec`` would mount another /sys, in which no cgroup is seen.
    """
    return ("nsenter", f"--net=/run/netns/{node.name}")
