"""Make the Kubernetes jobs of runs and steps from the config of a run launcher, as Dagster does."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._config import process_config, resolve_to_config_type
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import (
    DagsterK8sJobConfig,
    construct_dagster_k8s_job,
    get_user_defined_k8s_config,
)
from kubernetes.client import ApiClient

#: Fields of the launcher that its pods take over.
FIELDS = (
    "image_pull_policy",
    "service_account_name",
    "env_config_maps",
    "env_secrets",
    "env_vars",
    "volume_mounts",
    "volumes",
    "labels",
    "resources",
    "security_context",
)


def accepted(configurable: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Return a config as a class of Dagster reads it; fail where it refuses it."""
    result = process_config(resolve_to_config_type(configurable.config_type()), config)
    assert result.success, [error.message for error in result.errors]
    found: dict[str, Any] = result.value
    return found


def job_of(launcher: dict[str, Any], tags: dict[str, Any] | None) -> dict[str, Any]:
    """Return the job of a run, or of a step, as launcher and executor make it together.

    Args:
        launcher: config of the run launcher.
        tags: op tags of the step; None: the job of a run.
    """
    config = accepted(K8sRunLauncher, launcher)
    context = K8sContainerContext(
        **{name: config[name] for name in FIELDS if name in config},
        namespace="recsys",
        run_k8s_config=K8sContainerContext.create_from_config(
            {"k8s": {"run_k8s_config": config["run_k8s_config"]}}
        ).run_k8s_config,
    )
    if tags is not None:

        @dg.op(tags=tags)
        def step() -> None: ...

        own = K8sContainerContext(run_k8s_config=get_user_defined_k8s_config(step.tags))
        context = context.merge(own)
    job = DagsterK8sJobConfig(
        job_image="recsys-platform:0.1.0",
        dagster_home=config["dagster_home"],
        instance_config_map=config["instance_config_map"],
        postgres_password_secret=config["postgres_password_secret"],
    )
    made = construct_dagster_k8s_job(
        job,
        ["dagster", "api", "execute_step"],
        "dagster-step-1",
        context.run_k8s_config,
        component="step_worker",
    )
    found: dict[str, Any] = ApiClient().sanitize_for_serialization(made)
    return found
