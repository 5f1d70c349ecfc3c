"""Define the processes of a cluster, in the order in which they start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tools.cluster.binaries import KUBE_ROUTER, KUBERNETES
from tools.cluster.layout import Cluster, Node

ETCD = "http://127.0.0.1:2379"


@dataclass(frozen=True)
class Component:
    """One process.

    Attributes:
        name: of the process and of its log.
        node: in whose network namespace it runs.
        command: its command line.
        needs_api: whether it ends at once while the API server is not ready.
    """

    name: str
    node: Node
    command: tuple[str, ...]
    needs_api: bool = True


def components(cluster: Cluster) -> Iterator[Component]:
    """Yield the control plane, then the processes of each node."""
    first = cluster.nodes[0]
    yield Component("etcd", first, _etcd(cluster), needs_api=False)
    yield Component("kube-apiserver", first, _api_server(cluster), needs_api=False)
    for node in cluster.nodes:
        config = f"{cluster.node_folder(node)}/containerd.toml"
        command = ("containerd", "--config", config)
        yield Component(f"containerd-{node.name}", node, command, needs_api=False)
    yield Component("kube-controller-manager", first, _controller_manager(cluster))
    yield Component("kube-scheduler", first, _scheduler(cluster))
    for node in cluster.nodes:
        yield Component(f"kubelet-{node.name}", node, _kubelet(cluster, node))
        yield Component(f"kube-proxy-{node.name}", node, _proxy(cluster, node))
        yield Component(f"kube-router-{node.name}", node, _policies(cluster, node))


def _flags(**options: object) -> tuple[str, ...]:
    return tuple(f"--{name.replace('_', '-')}={value}" for name, value in options.items())


def _kubernetes(name: str, **options: object) -> tuple[str, ...]:
    return (str(KUBERNETES.path), name, *_flags(**options))


def _etcd(cluster: Cluster) -> tuple[str, ...]:
    return _kubernetes(
        "etcd",
        data_dir=cluster.folder / "etcd",
        listen_client_urls=ETCD,
        advertise_client_urls=ETCD,
        listen_peer_urls="http://127.0.0.1:2380",
        log_level="warn",
        unsafe_no_fsync="true",  # nothing outlives the cluster
    )


def _api_server(cluster: Cluster) -> tuple[str, ...]:
    pki = cluster.pki
    return _kubernetes(
        "kube-apiserver",
        etcd_servers=ETCD,
        bind_address=cluster.control,
        advertise_address=cluster.control,
        secure_port=6443,
        tls_cert_file=pki / "apiserver.crt",
        tls_private_key_file=pki / "apiserver.key",
        client_ca_file=pki / "ca.crt",
        service_account_issuer="https://kubernetes.default.svc.cluster.local",
        service_account_signing_key_file=pki / "sa.key",
        service_account_key_file=pki / "sa.key",
        service_cluster_ip_range=cluster.services,
        authorization_mode="Node,RBAC",
        enable_admission_plugins="NodeRestriction",
        allow_privileged="true",
        kubelet_client_certificate=pki / "apiserver-kubelet-client.crt",
        kubelet_client_key=pki / "apiserver-kubelet-client.key",
        kubelet_certificate_authority=pki / "ca.crt",
        kubelet_preferred_address_types="InternalIP",
        requestheader_client_ca_file=pki / "front-proxy-ca.crt",
        requestheader_allowed_names="front-proxy-client",
        requestheader_extra_headers_prefix="X-Remote-Extra-",
        requestheader_group_headers="X-Remote-Group",
        requestheader_username_headers="X-Remote-User",
        proxy_client_cert_file=pki / "front-proxy-client.crt",
        proxy_client_key_file=pki / "front-proxy-client.key",
        enable_aggregator_routing="true",
    )


def _client(cluster: Cluster, user: str) -> dict[str, object]:
    """Return the options of a component that serves others by the API's authorization."""
    config = cluster.kubeconfig(user)
    return {
        "kubeconfig": config,
        "authentication_kubeconfig": config,
        "authorization_kubeconfig": config,
        "leader_elect": "false",
        "bind_address": "127.0.0.1",
    }


def _controller_manager(cluster: Cluster) -> tuple[str, ...]:
    pki = cluster.pki
    return _kubernetes(
        "kube-controller-manager",
        **_client(cluster, "controller-manager"),
        service_account_private_key_file=pki / "sa.key",
        root_ca_file=pki / "ca.crt",
        use_service_account_credentials="true",
        cluster_signing_cert_file=pki / "ca.crt",
        cluster_signing_key_file=pki / "ca.key",
        allocate_node_cidrs="false",
        # shorter than in production, so that a test sees a lost node and a scaled Deployment soon
        node_monitor_grace_period="20s",
        horizontal_pod_autoscaler_sync_period="5s",
        horizontal_pod_autoscaler_downscale_stabilization="10s",
    )


def _scheduler(cluster: Cluster) -> tuple[str, ...]:
    return _kubernetes("kube-scheduler", **_client(cluster, "scheduler"))


def _kubelet(cluster: Cluster, node: Node) -> tuple[str, ...]:
    folder = cluster.node_folder(node)
    return _kubernetes(
        "kubelet",
        config=folder / "kubelet.json",
        kubeconfig=cluster.kubeconfig(f"kubelet-{node.name}"),
        root_dir=folder / "kubelet",
        cert_dir=folder / "kubelet-pki",
        hostname_override=node.name,
        node_ip=node.address,
        node_labels=node.labels,
    )


def _proxy(cluster: Cluster, node: Node) -> tuple[str, ...]:
    return _kubernetes(
        "kube-proxy",
        kubeconfig=cluster.kubeconfig("proxy"),
        hostname_override=node.name,
        cluster_cidr=cluster.pods,
        proxy_mode="nftables",
        # 0: the machine's own limits stay as they are
        conntrack_max_per_core=0,
        conntrack_min=0,
        healthz_bind_address="127.0.0.1:10256",
        metrics_bind_address="127.0.0.1:10249",
    )


def _policies(cluster: Cluster, node: Node) -> tuple[str, ...]:
    """Return the command of kube-router, which enforces network policies and nothing else here."""
    return (
        str(KUBE_ROUTER.path),
        *_flags(
            kubeconfig=cluster.kubeconfig(),
            hostname_override=node.name,
            run_firewall="true",
            run_router="false",
            run_service_proxy="false",
            run_loadbalancer="false",
            service_cluster_ip_range=cluster.services,
            metrics_port=0,
            health_port=0,
        ),
    )
