"""Define compute profiles, pools, the executor and the Pipes client.

A compute profile is a named set of Kubernetes resources. Two kinds of pods use it:

- A *step pod* does the work itself, in the platform image (Polars, torch, FAISS), and always on
  the CPU: ``op_tags("CPU_LARGE")``.
- A *training pod* runs the training image. A step pod starts it through Pipes and waits for it:
  ``op_tags("GPU_TRAIN")``, or ``training_tags("CPU_LARGE")`` for training work without a GPU. The
  waiting pod reserves no GPU and little memory; otherwise each training step would reserve its node
  twice.

Profiles are op tags, not job tags: Kubernetes tags of a job do not reach step pods and are lost in
a manual materialisation.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypedDict

import dagster as dg

from recsys_assets.compute_settings import DEFAULT, ComputeSettings, Resources
from recsys_assets.settings import PROJECT_ROOT, Settings

LANE = "recsys/lane"

K8S_CONFIG = "dagster-k8s/config"
PROFILE = "recsys/profile"
#: Which pod does the work of a step; its own where the tag is missing.
POD, TRAINING = "recsys/pod", "training"

#: The user id in every image of this project; it owns the files on the shared volume.
UID = 10001
GPU_TAINT = {
    "key": "nvidia.com/gpu",
    "operator": "Equal",
    "value": "present",
    "effect": "NoSchedule",
}
#: Label of the nodes of the Karpenter node pools (helm/karpenter).
NODE_LABEL = "recsys/compute"

POD_SECURITY = {
    "run_as_non_root": True,
    "run_as_user": UID,
    "run_as_group": UID,
    "fs_group": UID,
    "fs_group_change_policy": "OnRootMismatch",
    "seccomp_profile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allow_privilege_escalation": False,
    "read_only_root_filesystem": True,
    "privileged": False,
    "capabilities": {"drop": ["ALL"]},
}


class PodConfig(TypedDict):
    """The value of the tag ``dagster-k8s/config``, in the form of dagster_k8s."""

    container_config: dict[str, Any]
    pod_spec_config: dict[str, Any]
    pod_template_spec_metadata: dict[str, Any]
    job_spec_config: dict[str, Any]


def _profile(resources: Resources, *, hours: int = 6) -> PodConfig:
    """Return the pod configuration of a profile.

    The memory request equals the limit, so that a training step is not evicted for another pod. CPU
    has no limit, so that a pod can use an idle node. Karpenter's consolidation does not move a
    working pod.
    """
    amounts: dict[str, Any] = {
        "requests": {"cpu": resources.cpu, "memory": resources.memory},
        "limits": {"memory": resources.memory},
    }
    pod: dict[str, Any] = {"node_selector": {NODE_LABEL: "cpu"}, "security_context": POD_SECURITY}
    if resources.gpus:
        for kind in amounts.values():
            kind["nvidia.com/gpu"] = str(resources.gpus)
        pod |= {"node_selector": {NODE_LABEL: "gpu"}, "tolerations": [GPU_TAINT]}
    return {
        "container_config": {"resources": amounts, "security_context": CONTAINER_SECURITY},
        "pod_spec_config": pod,
        "pod_template_spec_metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}},
        # only Dagster retries: a Job with retries would run a step twice
        "job_spec_config": {
            "backoff_limit": 0,
            "ttl_seconds_after_finished": 3600,
            "active_deadline_seconds": hours * 3600,
        },
    }


PROFILES = tuple(DEFAULT)


def _config(name: str, settings: ComputeSettings | None = None) -> PodConfig:
    if name not in PROFILES:
        raise ValueError(f"compute profile {name!r} is unknown; use one of {', '.join(PROFILES)}")
    return _profile((settings or ComputeSettings()).profiles[name])


def step_tags(name: str) -> dict[str, Any]:
    """Return the op tags of an asset whose step pod does the work itself.

    Raises:
        ValueError: the profile is unknown.
    """
    return {K8S_CONFIG: _config(name), PROFILE: name}


def training_tags(name: str) -> dict[str, Any]:
    """Return the op tags of an asset whose work runs in a training pod.

    Its own step pod only waits.

    Raises:
        ValueError: the profile is unknown.
    """
    _config(name)
    # both pods may run for 6 hours; Pipes ends the training pod first
    return {K8S_CONFIG: _config("CPU_SMALL"), PROFILE: name, POD: TRAINING}


CPU_SMALL = step_tags("CPU_SMALL")
CPU_MEDIUM = step_tags("CPU_MEDIUM")
CPU_LARGE = step_tags("CPU_LARGE")
GPU_TRAIN = training_tags("GPU_TRAIN")  # TensorFlow is in the training image only


def op_tags(name: str) -> dict[str, Any]:
    """Return the op tags of a profile.

    Raises:
        ValueError: the profile is unknown; the message names the known ones.
    """
    return training_tags(name) if name == "GPU_TRAIN" else step_tags(name)


def training_pod(
    settings: Settings, profile: str, labels: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return metadata and spec of a training pod for ``PipesK8sClient.run``.

    The pod reads and writes artifacts on the shared volume. It needs no bucket and no access to the
    Kubernetes API. ``labels`` say which step it belongs to.
    """
    config = _config(profile, settings)
    container = {
        "name": "training",
        **config["container_config"],
        "env": [
            {"name": name, "value": value} for name, value in _pod_environment(settings).items()
        ],
        "volume_mounts": [
            {"name": "shared", "mount_path": str(settings.k8s_shared_dir)},
            {"name": "tmp", "mount_path": "/tmp"},
            {"name": "shm", "mount_path": "/dev/shm"},
        ],
    }
    spec = {
        **config["pod_spec_config"],
        "service_account_name": settings.k8s_service_account,
        "automount_service_account_token": False,
        "enable_service_links": False,
        "active_deadline_seconds": config["job_spec_config"]["active_deadline_seconds"],
        "containers": [container],
        "volumes": [
            {
                "name": "shared",
                "persistent_volume_claim": {"claim_name": settings.k8s_shared_claim},
            },
            {"name": "tmp", "empty_dir": {}},
            {"name": "shm", "empty_dir": {"medium": "Memory", "size_limit": "2Gi"}},
        ],
    }
    meta = {
        **config["pod_template_spec_metadata"],
        "labels": {
            "app.kubernetes.io/part-of": "recsys",
            "app.kubernetes.io/component": "training",
            **labels,
        },
    }
    return meta, spec


def _pod_environment(settings: Settings) -> dict[str, str]:
    # the root file system is read-only; /tmp is writable
    environment = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    if settings.aws_region:
        environment |= {
            "AWS_REGION": settings.aws_region,
            "AWS_DEFAULT_REGION": settings.aws_region,
        }
    return environment


def executor_for(settings: Settings) -> dg.ExecutorDefinition:
    """Return the executor that the settings name.

    dagster_k8s takes 2 s to import and is loaded for Kubernetes only.
    """
    if settings.executor == "in_process":
        return dg.in_process_executor
    if settings.executor == "multiprocess":
        return dg.multiprocess_executor
    from recsys_assets.orchestration.step_pods import step_pod_executor

    config: dict[str, Any] = {
        "job_namespace": settings.k8s_namespace,
        "service_account_name": settings.k8s_step_service_account,
        # Kubernetes deletes the step pods of a deleted run pod, so that the retried run does not
        # start them a second time; a lost run cannot be resumed then (helm/dagster-values.yaml)
        "enable_owner_references": True,
        "step_k8s_config": {
            "job_spec_config": {"backoff_limit": 0, "ttl_seconds_after_finished": 3600}
        },
    }
    if settings.platform_image:
        config["job_image"] = settings.platform_image
    return step_pod_executor.configured(config, name="k8s")


def pipes_client_for(settings: Settings) -> Any:
    """Return a ``PipesSubprocessClient`` locally, a ``PipesK8sClient`` on Kubernetes.

    On Kubernetes, the pod receives its context in an environment variable and sends messages in its
    log. So a training pod needs no bucket, no credentials and no network beyond the shared volume.
    """
    if settings.executor != "k8s":
        return dg.PipesSubprocessClient(cwd=str(PROJECT_ROOT))
    from dagster_k8s import PipesK8sClient

    return PipesK8sClient(poll_interval=5.0)


def delete_pods(namespace: str, labels: Mapping[str, str]) -> list[str]:
    """Delete the pods that have all of these labels; return their names."""
    import kubernetes

    if "KUBERNETES_SERVICE_HOST" in os.environ:
        kubernetes.config.load_incluster_config()
    else:
        kubernetes.config.load_kube_config()
    api = kubernetes.client.CoreV1Api()
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    found = api.list_namespaced_pod(namespace, label_selector=selector).items
    names = [str(pod.metadata.name) for pod in found]
    for name in names:
        api.delete_namespaced_pod(name, namespace)
    return names
