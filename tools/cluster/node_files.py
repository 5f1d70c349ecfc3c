"""Write the configuration of a node's kubelet, containerd and CNI plugins."""

from __future__ import annotations

import json
from typing import Any

from tools.cluster.layout import Cluster, Node

CNI_PLUGINS = "/usr/lib/cni"
PAUSE_IMAGE = "localhost/pause:1"
#: Size of the GPU node's fake resource.
GPUS = 1


def write(cluster: Cluster, node: Node) -> None:
    """Write all files of one node."""
    folder = cluster.node_folder(node)
    (folder / "cni").mkdir(parents=True, exist_ok=True)
    (folder / "cni" / "10-pods.conflist").write_text(json.dumps(_network(cluster, node)))
    (folder / "containerd.toml").write_text(_containerd(cluster, node))
    (folder / "resolv.conf").write_text("")  # no name outside of the cluster is looked up
    (folder / "kubelet.json").write_text(json.dumps(_kubelet(cluster, node), indent=1))


def _network(cluster: Cluster, node: Node) -> dict[str, Any]:
    """Return the pods' network.

    Each pod has a link of its own and every packet is routed. On a bridge, packets between two pods
    of a node would pass by the network policies.
    """
    addresses = {
        "type": "host-local",
        "dataDir": str(cluster.node_folder(node) / "addresses"),
        "ranges": [[{"subnet": node.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": addresses},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _containerd(cluster: Cluster, node: Node) -> str:
    """Return containerd's configuration.

    ``restrict_oom_score_adj``: without CAP_SYS_RESOURCE, as in most containers, no process may get
    a lower score than its parent's, and runc would end.
    """
    folder = cluster.node_folder(node)
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{folder}/containerd"
state = "/run/containerd/{node.name}"
[grpc]
  address = "{cluster.socket(node)}"
[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
[{cri}.cni]
  bin_dir = "{CNI_PLUGINS}"
  conf_dir = "{folder}/cni"
[{cri}.containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
  SystemdCgroup = false
"""


def _kubelet(cluster: Cluster, node: Node) -> dict[str, Any]:
    folder = cluster.node_folder(node)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(cluster.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(cluster.pki / f"kubelet-server-{node.name}.crt"),
        "tlsPrivateKeyFile": str(cluster.pki / f"kubelet-server-{node.name}.key"),
        "containerRuntimeEndpoint": f"unix://{cluster.socket(node)}",
        "cgroupDriver": "cgroupfs",  # no systemd is needed
        "cgroupRoot": f"/{cluster.cgroup(node)}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [cluster.dns],
        "clusterDomain": "cluster.local",
        "resolvConf": str(folder / "resolv.conf"),
        "registerWithTaints": list(node.taints),
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "5s",
        # images cannot be pulled again: never remove one to make room
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "podLogsDir": str(folder / "pod-logs"),
        "volumePluginDir": str(folder / "volume-plugins"),
    }
