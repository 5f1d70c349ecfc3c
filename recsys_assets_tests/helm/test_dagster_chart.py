"""Test the chart of Dagster: its instance, the pods that come of it, its way in, its rights."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
from dagster_k8s import K8sRunLauncher
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import make_url

from recsys_assets.orchestration import compute
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.helm.test_helm import one, pods
from recsys_assets_tests.support.dagster_jobs import accepted, job_of

CHART = PROJECT_ROOT / "helm" / "recsys-dagster"


@pytest.fixture(scope="module")
def instance(rendered) -> dict[str, Any]:
    files = one(rendered("recsys-dagster"), "ConfigMap", "recsys-dagster-instance")["data"]
    found: dict[str, Any] = yaml.safe_load(files["dagster.yaml"])
    return found


def test_dagster_accepts_the_instance(instance, monkeypatch):
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "of the test")
    schema = resolve_to_config_type(dagster_instance_config_schema())
    result = process_config(schema, instance)
    assert result.success, [error.message for error in result.errors]
    accepted(K8sRunLauncher, instance["run_launcher"]["config"])
    accepted(S3ComputeLogManager, instance["compute_logs"]["config"])
    misspelt = {**instance, "run_retry": {}}
    assert not process_config(schema, misspelt).success


def test_the_database_is_reached_by_a_driver_that_the_lock_has(instance, monkeypatch):
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "of the test")
    config = accepted(DagsterPostgresStorage, instance["storage"]["postgres"])["postgres_db"]
    url = make_url(f"{config['scheme']}://host/{config['db_name']}")
    assert url.get_dialect().import_dbapi().__name__ == "psycopg2"
    assert config["params"] == {"sslmode": "require"}


def test_the_preparation_needs_no_cluster(rendered, instance):
    manifests = rendered("recsys-dagster")
    files = one(manifests, "ConfigMap", "recsys-dagster-preparation")["data"]
    assert yaml.safe_load(files["dagster.yaml"]) == {"storage": instance["storage"]}
    for kind in ("ConfigMap", "Job"):
        hook = one(manifests, kind, "recsys-dagster-preparation")["metadata"]["annotations"]
        assert hook["helm.sh/hook"] == "post-install,pre-upgrade"


@pytest.mark.parametrize("profile", [None, *compute.PROFILES])
def test_run_and_step_pods(instance, profile):
    tags = None if profile is None else compute.op_tags(profile)
    made = job_of(instance["run_launcher"]["config"], tags)
    kubernetes_validate.validate(made, kubernetes_validate.latest_version(), strict=True)
    template = made["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert made["spec"]["backoffLimit"] == 0
    assert template["metadata"]["labels"]["recsys/role"] == "step"
    assert template["spec"]["serviceAccountName"] == Settings().k8s_step_service_account
    assert template["spec"]["securityContext"]["runAsUser"] == compute.UID
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert environment["TMPDIR"] in mounts
    assert {"/recsys", "/models", "/tmp", "/dev/shm"} <= mounts
    assert container["envFrom"] == [
        {"configMapRef": {"name": "recsys-settings"}},
        {"secretRef": {"name": "recsys-secrets"}},
    ]


def test_web_server_and_daemon_cannot_start_a_pod_of_their_own(rendered):
    manifests = rendered("recsys-dagster")
    bound = {
        binding["subjects"][0]["name"]: one(manifests, "Role", binding["roleRef"]["name"])["rules"]
        for binding in manifests
        if binding["kind"] == "RoleBinding"
    }
    assert set(bound) == {"recsys-dagster", "recsys-platform"}
    for rules in bound.values():
        assert {resource for rule in rules for resource in rule["resources"]} == {
            "jobs",
            "jobs/status",
            "pods",
            "pods/log",
            "pods/status",
            "events",
        }
    may_make_pods = {
        account: any("pods" in rule["resources"] and "create" in rule["verbs"] for rule in rules)
        for account, rules in bound.items()
    }
    assert may_make_pods == {"recsys-dagster": False, "recsys-platform": True}
    accounts = {name: pod["serviceAccountName"] for name, pod in pods(manifests)}
    assert accounts["recsys-dagster-code"] == "recsys-platform"
    assert accounts["recsys-dagster-daemon"] == accounts["recsys-dagster-webserver"]


def test_the_pools_are_those_of_the_graph(rendered):
    from recsys_assets.definitions import defs

    used = {op.pool for op in _ops(defs()) if op.pool}
    job = one(rendered("recsys-dagster"), "Job", "recsys-dagster-preparation")
    script = job["spec"]["template"]["spec"]["containers"][0]["command"][-1]
    set_here = {line.split()[4] for line in script.splitlines() if "concurrency set" in line}
    assert used == set_here


def _ops(definitions: Any) -> list[Any]:
    graph = definitions.resolve_asset_graph()
    return [
        definition.op
        for definition in {
            id(node.assets_def): node.assets_def for node in graph.asset_nodes
        }.values()
        if definition.is_executable
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "name no authentication, and Dagster's web server has no log-in of its own"),
        ({"authenticatedElsewhere": True}, "name no certificate"),
        (
            {"annotations": {"nginx.ingress.kubernetes.io/auth-url": "https://who.example"}},
            "ingress.tlsSecret is empty",
        ),
        (
            {"annotations": {"alb.ingress.kubernetes.io/auth-type": "none"}, "tlsSecret": "tls"},
            "name no authentication",
        ),
        (
            {
                "annotations": {"alb.ingress.kubernetes.io/certificate-arn": ""},
                "authenticatedElsewhere": True,
            },
            "name no certificate",
        ),
        ({"authenticatedElsewhere": True, "tlsSecret": "tls", "host": ""}, "ingress.host is empty"),
    ],
)
def test_no_way_in_without_authentication_and_certificate(refused, tmp_path, given, message):
    values = tmp_path / "values.yaml"
    way_in = {"enabled": True, "className": "nginx", "host": "dagster.example", **given}
    values.write_text(yaml.safe_dump({"ingress": way_in}))
    assert message in refused("recsys-dagster", "--values", str(values))


def test_a_way_in_with_both(rendered):
    ingress = one(rendered("recsys-dagster", "ingress"), "Ingress", "recsys-dagster-webserver")
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    service = one(rendered("recsys-dagster"), "Service", path["backend"]["service"]["name"])
    assert path["backend"]["service"]["port"]["name"] in {
        port["name"] for port in service["spec"]["ports"]
    }
    assert not [m for m in rendered("recsys-dagster") if m["kind"] == "Ingress"]
