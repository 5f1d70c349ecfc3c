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

import yaml

from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.helm.conftest import CHARTS, DEFINITIONS
from recsys_assets_tests.support import commands
from tools.cluster import helm_program
from tools.cluster.binaries import cache, locked
from tools.cluster.commands import ClusterError, run, wait_until, without_proxies
from tools.cluster.images.layers import content_key, key_of
from tools.cluster.kubernetes_api import apply, get, kubectl
from tools.cluster.layout import Cluster

NAMESPACE = "shop"
TAG = "1"
PASSWORD, TOKEN, DATABASE_PASSWORD = "of-the-valkey", "of-the-gateway", "of-the-postgres"
USER = 10_001
STEP = {"recsys/role": "step"}
#: For what a pod may take on busy cores.
LIMIT = 600.0
#: This machine's address in ``values-local.yaml``.
LOCAL_HOST = "10.250.0.1"
#: Resources that fit on the machine of a test: a node has as many cores as the machine.
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
            {"apiVersion": "v1", "kind": "Secret"}
            | {"stringData": {"postgresql-password": DATABASE_PASSWORD}}
            | {"metadata": {"name": "dagster-postgresql", "namespace": NAMESPACE}},
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

    def make_definitions(self) -> None:
        """Make the custom resources that the charts use."""
        for file in sorted(DEFINITIONS.glob("*.yaml")):
            kubectl(self.cluster, "apply", "--server-side", f"--filename={file}")
        established = ("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        kubectl(self.cluster, *established)

    # --- charts ---
    def values(self, chart: str) -> dict[str, Any]:
        """Return the values of a chart on this cluster: those of ``values-local.yaml``."""
        if chart == "recsys-karpenter":
            return {"clusterName": "test", "nodeRole": "node", "amiAlias": "bottlerocket@v1.50.0"}
        text = (CHARTS / "recsys/values-local.yaml").read_text()
        found: dict[str, Any] = yaml.safe_load(text.replace(LOCAL_HOST, self.cluster.host))
        if chart == "recsys-base":
            return {"settings": found["global"]["settings"]}
        return found if chart == "recsys" else found[chart]

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

    def change(self, changed: Mapping[str, Mapping[str, Any]]) -> None:
        """Upgrade charts with changed values, in the one that holds them all if it is installed.

        Args:
            changed: chart → what differs from its values here.
        """
        installed = {one["name"] for one in json.loads(self.helm("list", "--output=json"))}
        if "recsys" in installed:
            whole = self.values("recsys")
            parts = {chart: {**whole[chart], **own} for chart, own in changed.items()}
            self.install("recsys", "--wait", "--timeout=5m", **parts)
        else:
            for chart, own in changed.items():
                self.install(chart, **own)

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

    def wait_for_pod(self, name: str) -> str:
        """Wait until a pod has ended well and return its log.

        Raises:
            ClusterError: it failed; the message is its log.
        """

        def phase() -> str:
            pod = get(self.cluster, f"pod/{name}", f"--namespace={NAMESPACE}")
            return str(pod["status"]["phase"])

        wait_until(lambda: phase() in ("Succeeded", "Failed"), f"the end of {name}", LIMIT, every=1)
        log = self.kubectl("logs", name)
        if phase() != "Succeeded":
            raise ClusterError(log)
        return log

    def promote(self) -> None:
        """Promote the release of the home by a step pod; wait until the gateway is ready."""
        command = ["python", "-m", "recsys_assets.cli.main", "promote"]
        self.run_pod("promote", command, STEP, mounts=True)
        self.wait_for_pod("promote")
        wait_until(lambda: bool(self.ready("gateway")), "a ready gateway", LIMIT, every=0.5)

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
