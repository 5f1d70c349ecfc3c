"""Read what is installed in a namespace of a cluster; nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Object of the Kubernetes API, as JSON.
Object = dict[str, Any]
REFUSED = (401, 403)
#: Seconds for a connection, and for an answer; a network that drops packets never ends one.
TIMEOUT = (5.0, 30.0)


class NoCluster(RuntimeError):
    """The cluster cannot be asked; the message names the cause and the remedy."""


@dataclass
class Installed:
    """Holds the objects of a namespace, and the nodes of the cluster.

    Attributes:
        namespace: its name.
        version: of the API server, such as (1, 36).
        objects: kind → name → object. Of a Secret only its keys are kept.
        refused: kinds that this user may not read.
    """

    namespace: str
    version: tuple[int, int]
    objects: dict[str, dict[str, Object]]
    refused: set[str] = field(default_factory=set)

    def of(self, kind: str) -> dict[str, Object]:
        """Return name → object of a kind."""
        return self.objects.get(kind, {})

    def pods(self, component: str) -> list[Object]:
        """Return the pods of a component that have not ended."""
        return [
            pod
            for pod in self.of("Pod").values()
            if pod["metadata"].get("labels", {}).get("app.kubernetes.io/component") == component
            and pod["status"].get("phase") in ("Pending", "Running")
        ]


def read(namespace: str, context: str | None = None) -> Installed:
    """Read a namespace by the user's kubeconfig.

    Args:
        namespace: the one of the charts.
        context: of the kubeconfig; None: the current one.

    Raises:
        NoCluster: there is no kubeconfig, no such context or namespace, or no answer.
    """
    import kubernetes
    import urllib3
    import yaml

    try:
        kubernetes.config.load_kube_config(context=context)
    except (
        kubernetes.config.ConfigException,
        yaml.YAMLError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        raise NoCluster(
            f"no cluster to ask: {error}; set KUBECONFIG, or name a context by --context"
        ) from error
    api = kubernetes.client.ApiClient()
    core, network = kubernetes.client.CoreV1Api(api), kubernetes.client.NetworkingV1Api(api)
    custom = kubernetes.client.CustomObjectsApi(api)
    # kind → how to list it, and the arguments.
    lists: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
        "ConfigMap": (core.list_namespaced_config_map, (namespace,)),
        "Secret": (core.list_namespaced_secret, (namespace,)),
        "PersistentVolumeClaim": (core.list_namespaced_persistent_volume_claim, (namespace,)),
        "Pod": (core.list_namespaced_pod, (namespace,)),
        "NetworkPolicy": (network.list_namespaced_network_policy, (namespace,)),
        "Node": (core.list_node, ()),
        "NodePool": (custom.list_cluster_custom_object, ("karpenter.sh", "v1", "nodepools")),
    }
    objects: dict[str, dict[str, Object]] = {}
    refused: set[str] = set()
    try:
        version = kubernetes.client.VersionApi(api).get_code(_request_timeout=TIMEOUT)
        core.read_namespace(namespace, _request_timeout=TIMEOUT)
        for kind, (call, arguments) in lists.items():
            try:
                told = call(*arguments, _request_timeout=TIMEOUT)
                found = api.sanitize_for_serialization(told)["items"]
            except kubernetes.client.ApiException as error:
                if error.status in REFUSED:
                    refused.add(kind)
                elif error.status != 404:  # 404: Karpenter is not installed
                    raise
                found = []
            objects[kind] = {one["metadata"]["name"]: one for one in found}
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            raise NoCluster(
                f"there is no namespace {namespace!r}: install the charts, or name theirs by "
                "--namespace"
            ) from error
        raise NoCluster(f"the cluster refuses: {error.reason} ({error.status})") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise NoCluster(f"the cluster does not answer: {error}") from error
    except (ValueError, TypeError) as error:
        raise NoCluster(
            f"the cluster does not answer as a Kubernetes API does: {error}; does a proxy "
            "answer in its place?"
        ) from error
    for secret in objects["Secret"].values():
        secret["data"] = dict.fromkeys(secret.get("data") or {}, "")
    major, minor = int(version.major), int("".join(filter(str.isdigit, version.minor)))
    return Installed(namespace, (major, minor), objects, refused)
