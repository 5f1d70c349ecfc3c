"""The values for Dagster's own chart: known keys, a run launcher that dagster_k8s accepts, the pods
that come of it.
"""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster_k8s import K8sRunLauncher

from recsys_assets.orchestration import compute
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.support.dagster_jobs import accepted, job_of

VALUES = yaml.safe_load((PROJECT_ROOT / "helm" / "dagster-values.yaml").read_text())
LAUNCHER = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
LONG_RUNNING = {
    "webserver": VALUES["dagsterWebserver"],
    "daemon": VALUES["dagsterDaemon"],
    "code": VALUES["dagster-user-deployments"]["deployments"][0],
}

#: Keys that the chart knows (its values.schema.json forbids others), for the blocks that are set
#: here.
POD = {
    "env",
    "envConfigMaps",
    "envSecrets",
    "nodeSelector",
    "affinity",
    "tolerations",
    "podSecurityContext",
    "securityContext",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "annotations",
    "labels",
    "deploymentLabels",
    "schedulerName",
    "volumes",
    "volumeMounts",
    "image",
}
KNOWN = {
    "": {
        "global",
        "serviceAccount",
        "rbacEnabled",
        "generatePostgresqlPasswordSecret",
        "postgresql",
        "runLauncher",
        "dagster-user-deployments",
        "dagsterWebserver",
        "dagsterDaemon",
        "concurrency",
        "computeLogManager",
        "retention",
        "telemetry",
        "rabbitmq",
        "redis",
        "ingress",
    },
    "global": {
        "postgresqlSecretName",
        "dagsterHome",
        "serviceAccountName",
        "celeryConfigSecretName",
    },
    "serviceAccount": {"create", "name", "annotations"},
    "postgresql": {
        "enabled",
        "image",
        "postgresqlHost",
        "postgresqlUsername",
        "postgresqlPassword",
        "postgresqlDatabase",
        "postgresqlParams",
        "postgresqlScheme",
        "service",
    },
    "dagster-user-deployments": {"enabled", "enableSubchart", "imagePullSecrets", "deployments"},
    "dagsterWebserver": POD
    | {
        "replicaCount",
        "nameOverride",
        "service",
        "workspace",
        "enableReadOnly",
        "pathPrefix",
        "logLevel",
        "dbStatementTimeout",
        "dbPoolRecycle",
    },
    "dagsterDaemon": POD
    | {
        "enabled",
        "runCoordinator",
        "heartbeatTolerance",
        "runMonitoring",
        "runRetries",
        "sensors",
        "schedules",
    },
    "concurrency": {"enabled", "pools", "runs"},
    "computeLogManager": {"type", "config"},
    "runLauncher": {"type", "config"},
}
KNOWN_DEPLOYMENT = POD - {"deploymentLabels"} | {
    "name",
    "port",
    "dagsterApiGrpcArgs",
    "codeServerArgs",
    "includeConfigInLaunchedRuns",
}
#: The launcher's keys → the config fields that the chart writes them to.
LAUNCHER_FIELDS = {
    "imagePullPolicy": "image_pull_policy",
    "jobNamespace": "job_namespace",
    "envVars": "env_vars",
    "loadInclusterConfig": "load_incluster_config",
    "labels": "labels",
    "volumes": "volumes",
    "volumeMounts": "volume_mounts",
    "failPodOnRunFailure": "fail_pod_on_run_failure",
    "resources": "resources",
    "securityContext": "security_context",
    "schedulerName": "scheduler_name",
}
RUN_FIELDS = {
    "containerConfig": "container_config",
    "podSpecConfig": "pod_spec_config",
    "jobSpecConfig": "job_spec_config",
    "podTemplateSpecMetadata": "pod_template_spec_metadata",
    "jobMetadata": "job_metadata",
}


def launcher_config() -> dict[str, Any]:
    """``run_launcher.config`` of the dagster.yaml that the chart renders from the values."""
    names = {key: value for key, value in LAUNCHER.items() if key in LAUNCHER_FIELDS}
    assert set(LAUNCHER) - set(names) == {"envConfigMaps", "envSecrets", "runK8sConfig"}
    return {
        **{LAUNCHER_FIELDS[key]: value for key, value in names.items()},
        "job_namespace": "recsys",
        "service_account_name": VALUES["global"]["serviceAccountName"],
        "dagster_home": VALUES["global"]["dagsterHome"],
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "env_config_maps": [entry["name"] for entry in LAUNCHER["envConfigMaps"]],
        "env_secrets": [entry["name"] for entry in LAUNCHER["envSecrets"]],
        "run_k8s_config": {
            RUN_FIELDS[key]: value for key, value in LAUNCHER["runK8sConfig"].items()
        },
    }


@pytest.mark.parametrize("block", KNOWN)
def test_keys_are_the_charts(block):
    given = VALUES[block] if block else VALUES
    assert set(given) <= KNOWN[block]


def test_deployment_keys_are_the_charts():
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    assert set(deployment) <= KNOWN_DEPLOYMENT
    assert deployment["codeServerArgs"] == ["-m", "recsys_assets.definitions"]


def test_dagster_accepts_the_run_launcher():
    accepted(K8sRunLauncher, launcher_config())


def test_dagster_refuses_a_misspelt_run_launcher():
    result = process_config(
        resolve_to_config_type(K8sRunLauncher.config_type()),
        {**launcher_config(), "env_secret": []},
    )
    assert not result.success


def job(tags: dict[str, Any] | None) -> dict[str, Any]:
    """Return the job of a run (no tags), or of a step with these op tags."""
    return job_of(launcher_config(), tags)


@pytest.mark.parametrize("profile", [None, *compute.PROFILES])
def test_run_and_step_pods(profile):
    made = job(None if profile is None else compute.op_tags(profile))
    kubernetes_validate.validate(made, kubernetes_validate.latest_version(), strict=True)
    template = made["spec"]["template"]
    pod = template["spec"]
    (container,) = pod["containers"]
    assert made["spec"]["backoffLimit"] == 0
    assert template["metadata"]["labels"]["recsys/role"] == "step"
    assert pod["serviceAccountName"] == Settings().k8s_step_service_account
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsUser"] == compute.UID
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["TMPDIR"] == "/recsys/tmp"
    assert {"configMapRef": {"name": "recsys-settings"}} in container["envFrom"]
    assert {"secretRef": {"name": "recsys-secrets"}} in container["envFrom"]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert len(mounts) == len(set(mounts))
    assert {"/recsys", "/models", "/tmp", "/dev/shm"} <= set(mounts)
    # the asset's profile wins over the run pod's small share
    expected = (
        "1Gi"
        if profile is None
        else compute.op_tags(profile)[compute.K8S_CONFIG]["container_config"]["resources"][
            "requests"
        ]["memory"]
    )
    assert container["resources"]["requests"]["memory"] == expected
    # no step pod runs on a GPU: the training pod that it starts does
    assert pod["nodeSelector"] == {compute.NODE_LABEL: "cpu"}
    assert "nvidia.com/gpu" not in container["resources"]["limits"]


def made_by_the_kubelet(container: dict[str, Any]) -> set[str]:
    """Return the writable folders of a container that exist even if its volumes are empty."""
    return {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}


@pytest.mark.parametrize("profile", [None, *compute.PROFILES])
def test_the_temporary_folder_exists_in_run_and_step_pods(profile):
    (container,) = job(None if profile is None else compute.op_tags(profile))["spec"]["template"][
        "spec"
    ]["containers"]
    (folder,) = [one["value"] for one in container["env"] if one["name"] == "TMPDIR"]
    assert folder in made_by_the_kubelet(container)
    # training pods mount the whole volume: they read the folder under the same path
    (mount,) = [one for one in container["volumeMounts"] if one["mountPath"] == folder]
    assert f"{Settings().k8s_shared_dir}/{mount['subPath']}" == folder
    (shared,) = [
        one["mountPath"]
        for one in container["volumeMounts"]
        if one["name"] == mount["name"] and "subPath" not in one
    ]
    assert shared == str(Settings().k8s_shared_dir)


def test_a_part_that_names_a_temporary_folder_has_it():
    for part in LONG_RUNNING.values():
        for entry in part["env"]:
            assert entry["name"] != "TMPDIR" or entry["value"] in made_by_the_kubelet(part)


def test_a_run_is_not_resumed_whose_steps_end_with_its_pod():
    executor = compute.executor_for(Settings(executor="k8s"))
    resolved = executor.config_schema.resolve_config({}).value
    assert resolved.get("config", resolved)["enable_owner_references"] is True
    daemon = VALUES["dagsterDaemon"]
    assert daemon["runMonitoring"]["maxResumeRunAttempts"] == 0
    assert daemon["runRetries"] == {"enabled": True, "maxRetries": 2}


def test_the_web_server_binds_a_port_that_its_user_may_bind():
    # the chart runs `dagster-webserver -p <service.port>`
    web = VALUES["dagsterWebserver"]
    assert web["podSecurityContext"]["runAsUser"] == compute.UID
    assert web["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert web["service"] == {"type": "ClusterIP", "port": 8080}
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    assert code["port"] >= 1024


@pytest.mark.parametrize("part", LONG_RUNNING.values(), ids=LONG_RUNNING)
def test_long_running_parts_are_safe(part):
    container = {
        "name": "dagster",
        "image": f"{part['image']['repository']}:{part['image']['tag']}",
        "env": part["env"],
        "securityContext": part["securityContext"],
        "resources": part["resources"],
        "volumeMounts": part["volumeMounts"],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "dagster"},
        "spec": {
            "containers": [container],
            "securityContext": part["podSecurityContext"],
            "volumes": part["volumes"],
            "nodeSelector": part["nodeSelector"],
        },
    }
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    assert re.fullmatch(r"[a-z-]+", part["image"]["repository"]), (
        "a plain name: the registry is the cluster's matter"
    )
    assert part["podSecurityContext"]["runAsNonRoot"] is True
    assert part["securityContext"]["readOnlyRootFilesystem"] is True
    assert "memory" in part["resources"]["limits"]


def test_secrets_are_referenced_only():
    assert VALUES["generatePostgresqlPasswordSecret"] is False
    assert "postgresqlPassword" not in VALUES["postgresql"]
    assert VALUES["postgresql"]["enabled"] is False
