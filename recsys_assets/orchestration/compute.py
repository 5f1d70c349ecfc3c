"""Where work runs: named Kubernetes profiles, pools, the executor and the Pipes client, all chosen
by settings.

A profile is what a piece of work needs. Two kinds of pods use it:

- a *step pod* does the work itself, in the platform image (Polars, torch, FAISS):
  ``op_tags("CPU_LARGE")``;
- a *training pod*, in the training image, is started through Pipes by a step pod that only waits:
  ``op_tags("GPU_TRAIN")``, or ``training_tags("CPU_LARGE")`` for training work without a GPU. The
  waiting pod holds no GPU and little memory; otherwise each training step would reserve its node
  twice.

Op tags, not job tags: a job's Kubernetes tags do not reach step pods and vanish when someone
materialises by hand.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from recsys_assets.settings import PROJECT_ROOT, Settings

LANE = "recsys/lane"

K8S_CONFIG = "dagster-k8s/config"
PROFILE = "recsys/profile"

#: Pools: how many steps of a kind run at once, over all runs. Limits are the instance's, not the
#: code's.
POOL_CPU, POOL_TRAINING, POOL_EMBEDDING, POOL_PROMOTION = (
    "cpu",
    "training",
    "embedding",
    "promotion",
)

#: The user of every image of this project; the shared volume's files belong to it.
UID = 10001
GPU_TAINT = {
    "key": "nvidia.com/gpu",
    "operator": "Equal",
    "value": "present",
    "effect": "NoSchedule",
}
#: Label that the Karpenter node pools put on their nodes (helm/karpenter).
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


def _profile(cpu: str, memory: str, *, gpu: bool, hours: int) -> dict[str, Any]:
    """``dagster-k8s/config`` of one profile.

    Memory is requested whole, so that a training step is never evicted for a neighbour; CPU has no
    limit, so that an idle node is used. A pod is not moved by Karpenter's consolidation while it
    works.
    """
    resources: dict[str, Any] = {
        "requests": {"cpu": cpu, "memory": memory},
        "limits": {"memory": memory},
    }
    pod: dict[str, Any] = {"node_selector": {NODE_LABEL: "cpu"}, "security_context": POD_SECURITY}
    if gpu:
        resources["requests"]["nvidia.com/gpu"] = resources["limits"]["nvidia.com/gpu"] = "1"
        pod |= {"node_selector": {NODE_LABEL: "gpu"}, "tolerations": [GPU_TAINT]}
    return {
        "container_config": {"resources": resources, "security_context": CONTAINER_SECURITY},
        "pod_spec_config": pod,
        "pod_template_spec_metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}},
        # Dagster retries; a Job that retried by itself would run a step twice behind its back
        "job_spec_config": {
            "backoff_limit": 0,
            "ttl_seconds_after_finished": 3600,
            "active_deadline_seconds": hours * 3600,
        },
    }


_PROFILES = {
    "CPU_SMALL": _profile("500m", "2Gi", gpu=False, hours=6),
    "CPU_LARGE": _profile("3", "12Gi", gpu=False, hours=6),
    "GPU_TRAIN": _profile("3", "12Gi", gpu=True, hours=6),
    "GPU_EMBED": _profile("3", "12Gi", gpu=True, hours=2),
}


def _config(name: str) -> dict[str, Any]:
    if name not in _PROFILES:
        raise ValueError(f"compute profile {name!r} is unknown; use one of {', '.join(_PROFILES)}")
    return _PROFILES[name]


def step_tags(name: str) -> dict[str, Any]:
    """Op tags of an asset whose step pod does the work itself."""
    return {K8S_CONFIG: _config(name), PROFILE: name}


def training_tags(name: str) -> dict[str, Any]:
    """Op tags of an asset whose work runs in a training pod of this profile; its own step pod only
    waits for it.
    """
    _config(name)
    # the waiting pod lives at least as long as the pod that it waits for (6 hours both), Pipes ends
    # the latter first
    return {K8S_CONFIG: _config("CPU_SMALL"), PROFILE: name}


CPU_SMALL = step_tags("CPU_SMALL")
CPU_LARGE = step_tags("CPU_LARGE")
GPU_TRAIN = training_tags("GPU_TRAIN")  # TensorFlow is in the training image only
GPU_EMBED = step_tags("GPU_EMBED")


def op_tags(name: str) -> dict[str, Any]:
    """Op tags of a profile by name; raises ValueError naming the known ones."""
    return training_tags(name) if name == "GPU_TRAIN" else step_tags(name)


def training_pod(settings: Settings, profile: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and spec of a training pod, in the form of ``PipesK8sClient.run``.

    The pod reads and writes artifacts on the shared volume, and so needs neither a bucket nor the
    Kubernetes API.
    """
    config = _config(profile)
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
        },
    }
    return meta, spec


def _pod_environment(settings: Settings) -> dict[str, str]:
    # the root file system is read-only: everything that wants a home finds it in /tmp
    environment = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    if settings.aws_region:
        environment |= {
            "AWS_REGION": settings.aws_region,
            "AWS_DEFAULT_REGION": settings.aws_region,
        }
    return environment


def executor_for(settings: Settings) -> dg.ExecutorDefinition:
    """The executor that the settings name. dagster_k8s (2 s to import) is loaded for Kubernetes
    only.
    """
    if settings.executor == "in_process":
        return dg.in_process_executor
    if settings.executor == "multiprocess":
        return dg.multiprocess_executor
    from dagster_k8s import k8s_job_executor

    config: dict[str, Any] = {
        "job_namespace": settings.k8s_namespace,
        "service_account_name": settings.k8s_step_service_account,
        # a run pod that dies takes its step pods along
        "enable_owner_references": True,
        "step_k8s_config": {
            "job_spec_config": {"backoff_limit": 0, "ttl_seconds_after_finished": 3600}
        },
    }
    if settings.platform_image:
        config["job_image"] = settings.platform_image
    return k8s_job_executor.configured(config, name="k8s")


def pipes_client_for(settings: Settings) -> Any:
    """A ``PipesSubprocessClient`` on this machine, a ``PipesK8sClient`` on Kubernetes.

    On Kubernetes the context goes in by environment variable and messages come back through the
    pod's log, so that a training pod needs no bucket, no credentials and no network beyond the
    shared volume.
    """
    if settings.executor != "k8s":
        return dg.PipesSubprocessClient(cwd=str(PROJECT_ROOT))
    from dagster_k8s import PipesK8sClient

    return PipesK8sClient(poll_interval=5.0)
