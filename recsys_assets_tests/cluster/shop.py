"""A shop on a cluster: its namespace, volumes, release and charts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.cluster.outside import BUCKET, REGION, VALKEY_PORT
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.support import commands
from tools.cluster import helm_program
from tools.cluster.binaries import cache, locked
from tools.cluster.commands import ClusterError, run, without_proxies
from tools.cluster.images.layers import content_key, key_of
from tools.cluster.kubernetes_api import apply, get, kubectl
from tools.cluster.layout import Cluster

NAMESPACE = "shop"
TAG = "1"
PASSWORD, TOKEN = "of-the-valkey", "of-the-gateway"
USER = 10_001
CHARTS = PROJECT_ROOT / "helm"
#: Requests of CPU that fit on the machine of a test: a node has as many cores as the machine.
SMALL = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "3Gi"}}


def release_home(say: Any) -> Path:
    """Return a home with a release of the tiny shop; one is kept per state of the code.

    Its Valkey's data lies in it, too.
    """
    code = [PROJECT_ROOT / name for name in ("recsys_assets", "feature_repo", "triton_repo")]
    locks = sorted((PROJECT_ROOT / "requirements").glob("*.lock"))
    home = cache() / "homes" / key_of(content_key([*code, *locks]), "1")
    with locked(cache() / "homes"):
        for other in (cache() / "homes").glob("*/"):
            if other != home:
                shutil.rmtree(other, ignore_errors=True)
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            say("a release of the tiny shop is made, once per state of the code")
            with_valkey = Home(home)
            with_valkey.recsys("materialize", "--scale", "tiny")
            with_valkey.recsys("down")
            (home / "complete").touch()
    return home


class Home:
    """Runs commands on this machine in a home whose Valkey has a port and a password."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()

    @property
    def _environment(self) -> dict[str, str]:
        return commands.environment_with(
            {
                "RECSYS_HOME": str(self.folder),
                "RECSYS_VALKEY_PORT": str(self.port),
                "RECSYS_VALKEY_PASSWORD": PASSWORD,
            }
        )

    def recsys(self, *arguments: str) -> str:
        """Run a command."""
        done = commands.recsys(self._environment, *arguments, limit=3600)
        if done.returncode != 0:
            raise ClusterError(f"recsys {' '.join(arguments)}: {done.stderr[-4000:]}")
        return done.stdout

    def start_valkey(self) -> None:
        """Start the home's Valkey on its data."""
        code = (
            "from recsys_assets.operations import services; "
            "from recsys_assets.settings import Settings; "
            "services.up(Settings(), only=['valkey'])"
        )
        subprocess.run(
            [sys.executable, "-c", code], cwd=PROJECT_ROOT, env=self._environment, check=True
        )


@dataclass
class Shop:
    """The namespace of a shop and what is installed in it.

    Attributes:
        cluster: that it runs on.
        volumes: folder of its two volumes on this machine.
        tag: of its images.
    """

    cluster: Cluster
    volumes: Path
    tag: str

    # --- the ground ---
    def make_namespace(self) -> None:
        """Make the namespace, whose pods must be `restricted`, and the Secret."""
        labels = {
            f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
        }
        secret = {"RECSYS_TOKEN": TOKEN, "RECSYS_VALKEY_PASSWORD": PASSWORD}
        apply(
            self.cluster,
            {"apiVersion": "v1", "kind": "Namespace"}
            | {"metadata": {"name": NAMESPACE, "labels": labels}},
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}},
            {"apiVersion": "v1", "kind": "Secret", "stringData": secret}
            | {"metadata": {"name": "recsys-secrets", "namespace": NAMESPACE}},
        )

    def make_volumes(self) -> None:
        """Make the volumes of the two claims; like an EFS access point, they belong to the user."""
        run("chown", "-R", f"{USER}:{USER}", self.volumes)
        anywhere = [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]
        for name in ("recsys-shared", "recsys-models"):
            spec = {
                "capacity": {"storage": "100Gi"},
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "efs",
                "claimRef": {"namespace": NAMESPACE, "name": name},
                "local": {"path": str(self.volumes / name)},
                "nodeAffinity": {
                    "required": {"nodeSelectorTerms": [{"matchExpressions": anywhere}]}
                },
            }
            volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}}
            apply(self.cluster, {**volume, "spec": spec})

    # --- charts ---
    def values(self, chart: str) -> dict[str, Any]:
        """Return the values of a chart on this cluster."""
        here = f"{self.cluster.host}/32"
        image = {"tag": self.tag}
        if chart == "recsys-base":
            bucket = f"s3://{BUCKET}"
            settings = {
                "RECSYS_AWS_REGION": REGION,
                "RECSYS_ARTIFACTS_URI": "/recsys/home/artifacts",
                "RECSYS_FEAST_REGISTRY": f"{bucket}/feast/registry.db",
                "RECSYS_FEAST_OFFLINE_URI": f"{bucket}/feast/offline",
                "RECSYS_ATHENA_STAGING_URI": f"{bucket}/athena",
                "RECSYS_VALKEY_HOST": self.cluster.host,
                "RECSYS_VALKEY_PORT": str(VALKEY_PORT),
                "RECSYS_TRAINING_IMAGE": f"localhost/recsys-training:{self.tag}",
                # the cores of a test are busy with other things
                "RECSYS_STORE_TIMEOUT_MS": "1000",
                "RECSYS_TRITON_TIMEOUT_MS": "10000",
                "RECSYS_SHED_AFTER_MS": "10000",
            }
            return {"settings": settings}
        if chart == "recsys-triton":
            return {
                "image": {"repository": "localhost/recsys-serving", **image},
                "resources": SMALL,
                "sharedMemory": "512Mi",
                "autoscaling": {"minReplicas": 1, "maxReplicas": 2},
                "network": {"valkeyCidrs": [here]},
            }
        if chart == "recsys-gateway":
            return {
                "image": {"repository": "localhost/recsys-platform", **image},
                "gateway": {"resources": SMALL, "autoscaling": {"minReplicas": 1}},
                "consumer": {"resources": SMALL},
                "network": {"valkeyCidrs": [here], "ingressCidrs": [here]},
            }
        return {"clusterName": "test", "nodeRole": "node", "amiAlias": "bottlerocket@v1.50.0"}

    def helm(self, *arguments: str, limit: float = 900.0) -> str:
        """Run helm in the namespace."""
        config = f"--kubeconfig={self.cluster.kubeconfig()}"
        namespace = f"--namespace={NAMESPACE}"
        command = [helm_program.helm(), *arguments, config, namespace]
        return run(*command, limit=limit, environment=without_proxies())

    def install(self, chart: str, *options: str, **changed: Any) -> str:
        """Install or upgrade a chart and wait until its pods are ready."""
        folder = "karpenter" if chart == "recsys-karpenter" else chart
        values = self.volumes.parent / f"{chart}.json"
        values.write_text(json.dumps({**self.values(chart), **changed}))
        return self.helm(
            "upgrade",
            chart,
            str(CHARTS / folder),
            "--install",
            f"--values={values}",
            *(options or ("--wait", "--timeout=10m")),
        )

    # --- pods ---
    def run_pod(
        self,
        name: str,
        command: Sequence[str],
        labels: Mapping[str, str] = {},
        *,
        namespace: str = NAMESPACE,
        mounts: bool = False,
    ) -> None:
        """Start a pod of the platform image, restricted, with the settings of the shop."""
        volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
        places = [{"name": "tmp", "mountPath": "/tmp"}]
        environment = [{"name": "HOME", "value": "/tmp"}]
        container: dict[str, Any] = {}
        if mounts:
            for claim, place in {"recsys-shared": "/recsys", "recsys-models": "/models"}.items():
                volumes.append({"name": claim, "persistentVolumeClaim": {"claimName": claim}})
                places.append({"name": claim, "mountPath": place})
            environment += [
                {"name": one, "valueFrom": {"secretKeyRef": {"name": "recsys-secrets", "key": one}}}
                for one in ("RECSYS_TOKEN", "RECSYS_VALKEY_PASSWORD")
            ]
            container["envFrom"] = [{"configMapRef": {"name": "recsys-settings"}}]
        container |= {
            "name": "main",
            "image": f"localhost/recsys-platform:{self.tag}",
            "command": list(command),
            "env": environment,
            "volumeMounts": places,
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": {"recsys/compute": "cpu"},
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": volumes,
        }
        metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
        apply(self.cluster, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def kubectl(self, *arguments: str, limit: float = 300.0) -> str:
        """Run kubectl in the namespace."""
        return kubectl(self.cluster, f"--namespace={NAMESPACE}", *arguments, limit=limit)

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Return the pods of a component."""
        selector = f"--selector=app.kubernetes.io/component={component}"
        found: list[dict[str, Any]] = get(
            self.cluster, "pods", f"--namespace={NAMESPACE}", selector
        )["items"]
        return found

    def ready(self, component: str) -> list[str]:
        """Return the names of a component's pods that are ready."""
        return [
            pod["metadata"]["name"]
            for pod in self.pods(component)
            if any(
                one["type"] == "Ready" and one["status"] == "True"
                for one in pod["status"].get("conditions", ())
            )
        ]

    def address(self, component: str) -> str:
        """Return the address of a component's first ready pod."""
        names = self.ready(component)
        return next(
            pod["status"]["podIP"]
            for pod in self.pods(component)
            if pod["metadata"]["name"] in names
        )

    def images(self, component: str) -> set[str]:
        """Return the images of a component's pods."""
        return {pod["spec"]["containers"][0]["image"] for pod in self.pods(component)}
