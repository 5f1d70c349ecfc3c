"""Test each check of an installation: what is right passes, and each fault names its remedy."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from recsys_assets.compute_settings import Resources
from recsys_assets.operations.eks.checks import PARTS, POLICIES, all_lines, largest, settings_of
from recsys_assets.operations.eks.installed import Installed

TAG = "1.2.3"


def pod(component: str, **changed: Any) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True"}
    return {
        "metadata": {"name": component, "labels": {"app.kubernetes.io/component": component}},
        "spec": {"containers": [{"image": f"recsys-platform:{TAG}"}]},
        "status": {
            "phase": "Running",
            "conditions": [ready],
            "containerStatuses": [{"started": True, "state": {"running": {}}}],
            **changed,
        },
    }


def node(compute: str, **more: str) -> dict[str, Any]:
    allocatable = {"cpu": "4", "memory": "15Gi", **more}
    return {
        "metadata": {"name": compute, "labels": {"recsys/compute": compute}},
        "status": {"allocatable": allocatable},
    }


def claim() -> dict[str, Any]:
    return {
        "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "efs"},
        "status": {"phase": "Bound", "capacity": {"storage": "100Gi"}},
    }


@pytest.fixture
def installed() -> Installed:
    """A namespace in which all is well."""
    settings = {
        "RECSYS_EXECUTOR": "k8s",
        "RECSYS_HOME": "/recsys/home",
        "RECSYS_K8S_NAMESPACE": "shop",
        "RECSYS_TRAINING_IMAGE": f"recsys-training:{TAG}",
    }
    objects = {
        "ConfigMap": {"recsys-settings": {"data": settings}},
        "Secret": {
            "recsys-secrets": {"data": {"RECSYS_TOKEN": "", "RECSYS_VALKEY_PASSWORD": ""}},
            "dagster-postgresql": {"data": {"postgresql-password": ""}},
        },
        "PersistentVolumeClaim": {"recsys-shared": claim(), "recsys-models": claim()},
        "Node": {"a": node("cpu"), "b": node("gpu", **{"nvidia.com/gpu": "1"})},
        "NetworkPolicy": {name: {} for name in POLICIES},
        "Pod": {component: pod(component) for component in PARTS},
    }
    return Installed("shop", (1, 34), copy.deepcopy(objects))


def failed(installed: Installed) -> str:
    return "\n".join(f"{one.what}: {one.found}" for one in all_lines(installed) if not one.held)


def test_a_good_installation_passes(installed: Installed) -> None:
    assert failed(installed) == ""
    assert len(all_lines(installed)) == 16


def test_an_empty_namespace_fails_in_every_part() -> None:
    lines = {line.what: line for line in all_lines(Installed("shop", (1, 29), {}))}
    assert not any(line.held for line in lines.values())
    assert "1.29: the charts need 1.30" in lines["Kubernetes"].found
    assert "install the chart recsys-base" in lines["settings"].found
    assert "create it with RECSYS_TOKEN" in lines["Secret recsys-secrets"].found
    assert "is its chart installed?" in lines["Triton"].found
    assert "no node and no node pool has the label" in lines["gpu nodes"].found


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RECSYS_EXECUTOR", "in_process", "steps would run in the run's own pod"),
        ("RECSYS_TRAINING_IMAGE", "", "no model can be trained"),
        ("RECSYS_HOME", "/data", "RECSYS_HOME=/data is not on the shared volume /recsys"),
        ("RECSYS_K8S_NAMESPACE", "other", "RECSYS_K8S_NAMESPACE is other: upgrade recsys-base"),
        ("RECSYS_TRAIN_DAYS", "no", "RECSYS_TRAIN_DAYS: Input should be a valid integer"),
        ("RECSYS_TRAINING_IMAGE", "recsys-training:1.0", "1.0: training"),
        ("RECSYS_TRAIN_DAY", "9", "RECSYS_TRAIN_DAY: no setting of this version"),
    ],
)
def test_a_wrong_setting(installed: Installed, name: str, value: str, message: str) -> None:
    installed.of("ConfigMap")["recsys-settings"]["data"][name] = value
    assert message in failed(installed)


def test_a_secret_without_a_key_and_one_that_may_not_be_read(installed: Installed) -> None:
    del installed.of("Secret")["recsys-secrets"]["data"]["RECSYS_TOKEN"]
    assert failed(installed) == "Secret recsys-secrets: lacks RECSYS_TOKEN: add it"
    installed.refused.add("Secret")
    unknown = [line for line in all_lines(installed) if line.held is None]
    assert [line.found for line in unknown] == ["you may not read Secrets here"] * 2


def test_a_volume_that_is_not_bound_or_not_shared(installed: Installed) -> None:
    claims = installed.of("PersistentVolumeClaim")
    claims["recsys-shared"]["status"] = {"phase": "Pending"}
    claims["recsys-models"]["spec"]["accessModes"] = ["ReadWriteOnce"]
    assert "Pending: is there a storage class efs" in failed(installed)
    assert "not ReadWriteMany" in failed(installed)


def test_nodes_that_are_too_small_or_come_by_a_pool(installed: Installed) -> None:
    del installed.of("Node")["b"]
    assert "recsys/compute=gpu: helm/karpenter, or kubectl label node" in failed(installed)
    pool = {"spec": {"template": {"metadata": {"labels": {"recsys/compute": "gpu"}}}}}
    installed.objects["NodePool"] = {"recsys-gpu": pool}
    assert failed(installed) == ""
    installed.of("Node")["a"]["status"]["allocatable"]["memory"] = "7Gi"
    assert "none of 1 holds 3 CPU, 12Gi: take larger ones" in failed(installed)
    settings = installed.of("ConfigMap")["recsys-settings"]["data"]
    settings["RECSYS_K8S_PROFILES"] = "CPU_MEDIUM=1/6Gi,CPU_LARGE=2/6Gi,GPU_TRAIN=2/6Gi/0"
    del installed.objects["NodePool"]
    assert failed(installed) == ""


def test_each_profile_needs_a_node_of_its_own_size(installed: Installed) -> None:
    settings = installed.of("ConfigMap")["recsys-settings"]["data"]
    settings["RECSYS_K8S_PROFILES"] = "CPU_MEDIUM=6/2Gi"  # less memory than CPU_LARGE, more CPU
    assert failed(installed).startswith("cpu nodes: none of 1 holds 6 CPU, 2Gi")


def test_a_node_pool_without_labels_is_another_one(installed: Installed) -> None:
    installed.objects["NodePool"] = {"system": {"spec": {"template": {"spec": {}}}}}
    assert failed(installed) == ""


@pytest.mark.parametrize(
    "kind", ["ConfigMap", "Secret", "PersistentVolumeClaim", "Node", "NetworkPolicy", "Pod"]
)
def test_what_may_not_be_read_is_no_fault(installed: Installed, kind: str) -> None:
    installed.refused.add(kind)
    installed.objects[kind] = {}  # Karpenter is not installed either
    lines = all_lines(installed)
    assert not [line for line in lines if line.held is False]
    unknown = {line.found for line in lines if line.held is None}
    assert unknown and all("may not read" in found for found in unknown)


def test_settings_of_this_machine_are_not_those_of_the_cluster(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_K8S_PROFILES", "CPU_LARGE=64/512Gi")
    monkeypatch.setenv("RECSYS_TIME_ZONE", "nowhere")
    assert settings_of(installed).k8s_profiles == ""
    assert failed(installed) == ""


def test_the_largest_of_the_profiles() -> None:
    profiles = {
        "a": Resources("1", "900Mi"),
        "b": Resources("2", "2Gi"),
        "c": Resources("1", "9Gi", 1),
    }
    assert largest(profiles, gpu=False) == profiles["b"]
    assert largest(profiles, gpu=True) == profiles["c"]
    assert largest({"a": profiles["a"]}, gpu=True) is None


@pytest.mark.parametrize(
    ("component", "status", "message"),
    [
        (
            "triton",
            {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
            "triton: ImagePullBackOff; kubectl describe pod triton",
        ),
        ("gateway", {}, "waits for a release: run full_training, then promote"),
        (
            "consumer",
            {
                "containerStatuses": [],
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/2 nodes available"}
                ],
            },
            "consumer: 0/2 nodes available",
        ),
        ("dagster-code", {}, "dagster-code: not ready; kubectl logs dagster-code"),
    ],
)
def test_a_part_that_is_not_ready_says_why(
    installed: Installed, component: str, status: dict[str, Any], message: str
) -> None:
    installed.of("Pod")[component] = pod(component, **{"conditions": [], **status})
    assert message in failed(installed)


def test_pods_of_two_versions_are_named(installed: Installed) -> None:
    installed.of("Pod")["triton"]["spec"]["containers"][0]["image"] = "recsys-serving:9"
    assert "9: triton" in failed(installed)


def test_an_image_by_digest_and_a_side_car_have_no_version_to_compare(installed: Installed) -> None:
    settings = installed.of("ConfigMap")["recsys-settings"]["data"]
    settings["RECSYS_TRAINING_IMAGE"] = f"registry.example:5000/training@sha256:{'a' * 64}"
    containers = installed.of("Pod")["triton"]["spec"]["containers"]
    containers[0]["name"] = "triton"
    containers.insert(0, {"name": "istio-proxy", "image": "istio/proxyv2:1.29"})
    assert failed(installed) == ""


def test_a_pod_that_is_stuck_beside_a_ready_one_is_named(installed: Installed) -> None:
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
    installed.of("Pod")["new"] = pod("triton", conditions=[], **waiting)
    assert "Triton: 1 of 2 pods ready; triton: ImagePullBackOff" in failed(installed)
    waiting["containerStatuses"][0]["state"]["waiting"]["reason"] = "ContainerCreating"
    assert failed(installed) == ""


def test_a_pod_that_has_ended_is_no_part(installed: Installed) -> None:
    installed.of("Pod")["triton"]["status"]["phase"] = "Failed"
    assert failed(installed) == "Triton: no pod: is its chart installed?"


def test_a_missing_policy_is_named(installed: Installed) -> None:
    del installed.of("NetworkPolicy")["recsys-training-isolated"]
    assert failed(installed) == "network policies: missing: recsys-training-isolated"
