"""Test the chart that holds the others: one install, its files of values, one set of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.utils import parse_quantity

from recsys_assets.orchestration import compute
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.helm.test_helm import one, pods

CHART = PROJECT_ROOT / "helm" / "recsys"
PARTS = ("recsys-base", "recsys-dagster", "recsys-triton", "recsys-gateway")
FILES = ("values-eks", "values-eks-minimal")
#: What a user fills in.
FILLED = {
    '&tag ""': "&tag 0.1.0",
    '&region ""': "&region eu-central-1",
    '&bucket ""': "&bucket example-recsys",
    "&valkeyCidrs []": "&valkeyCidrs [10.0.64.0/20]",
    "&postgresqlCidrs []": "&postgresqlCidrs [10.0.80.0/20]",
    '_ARTIFACTS_URI: ""': "_ARTIFACTS_URI: s3://example-recsys/artifacts",
    '_FEAST_REGISTRY: ""': "_FEAST_REGISTRY: s3://example-recsys/feast/registry.db",
    '_FEAST_OFFLINE_URI: ""': "_FEAST_OFFLINE_URI: s3://example-recsys/feast/offline",
    '_ATHENA_STAGING_URI: ""': "_ATHENA_STAGING_URI: s3://example-recsys/athena",
    '_VALKEY_HOST: ""': "_VALKEY_HOST: valkey.example",
    '_TRAINING_IMAGE: ""': "_TRAINING_IMAGE: recsys-training:0.1.0",
    '{host: ""}': "{host: postgres.example}",
}


def filled(name: str, folder: Path) -> Path:
    """Write a file of values as a user fills it in."""
    text = (CHART / f"{name}.yaml").read_text()
    for empty, value in FILLED.items():
        assert empty in text, empty
        text = text.replace(empty, value)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def template(helm: Any, *values: str | Path) -> list[dict[str, Any]]:
    files = [f"--values={path}" for path in values if isinstance(path, Path)]
    options = [option for option in values if isinstance(option, str)]
    text = helm("template", "recsys", str(CHART), "--namespace", "shop", *files, *options)
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def test_it_holds_what_the_charts_hold(rendered):
    def names(chart: str) -> set[tuple[str, str]]:
        return {(m["kind"], m["metadata"]["name"]) for m in rendered(chart)}

    assert names("recsys") == set().union(*map(names, PARTS))


def test_its_parts_are_those_that_lie_beside_it():
    dependencies = yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"]
    assert sorted(part["name"] for part in dependencies) == sorted(PARTS)
    for part in dependencies:
        link = CHART / "charts" / part["name"]
        assert link.resolve() == CHART.parent / part["name"]
        version = yaml.safe_load((link / "Chart.yaml").read_text())["version"]
        assert part["version"] == version


@pytest.mark.parametrize("name", FILES)
def test_a_filled_file_of_values_renders(helm, tmp_path, name, monkeypatch):
    manifests = template(helm, filled(name, tmp_path))
    settings = one(manifests, "ConfigMap", "recsys-settings")["data"]
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    read = Settings()
    assert read.k8s_namespace == "shop"
    assert read.aws_region == "eu-central-1"
    assert read.training_image == "recsys-training:0.1.0"
    images = {
        container["image"].rpartition(":")[2]
        for _, pod in pods(manifests)
        for container in pod["containers"]
    }
    assert images == {"0.1.0"}


def test_the_values_of_a_local_cluster_render_as_they_are(helm):
    manifests = template(helm, CHART / "values-local.yaml")
    requests = [
        parse_quantity(container["resources"]["requests"]["cpu"])
        for _, pod in pods(manifests)
        for container in pod["containers"]
    ]
    assert sum(requests) < 1  # a node has as many cores as this machine, two perhaps


@pytest.mark.parametrize("name", FILES)
def test_an_empty_file_of_values_is_refused(refused, name):
    said = refused("recsys", "--values", str(CHART / f"{name}.yaml"))
    assert "values" in said


def test_the_minimal_values_fit_one_node_without_gpu(helm, tmp_path, monkeypatch):
    manifests = template(helm, filled("values-eks-minimal", tmp_path))
    kinds = {manifest["kind"] for manifest in manifests}
    assert "ServiceMonitor" not in kinds
    monkeypatch.setenv(
        "RECSYS_K8S_PROFILES",
        one(manifests, "ConfigMap", "recsys-settings")["data"]["RECSYS_K8S_PROFILES"],
    )
    always = [pod for name, pod in pods(manifests) if pod.get("restartPolicy") != "Never"]
    largest = [
        compute.training_pod(Settings(), profile, {})[1]["containers"][0]["resources"]["requests"]
        for profile in compute.PROFILES
    ]
    assert not any("nvidia.com/gpu" in requests for requests in largest)
    for resource, node in {"cpu": "3500m", "memory": "15Gi"}.items():
        taken = sum(
            parse_quantity(container["resources"]["requests"][resource])
            for pod in always
            for container in pod["containers"]
        )
        # a second node takes the largest step; each part that always runs fits the first
        assert taken <= parse_quantity(node), resource
        assert max(parse_quantity(one[resource]) for one in largest) <= parse_quantity(node)


def test_a_changed_setting_replaces_the_pods_that_read_it(helm, tmp_path):
    values = filled("values-eks", tmp_path)

    def checksums(*options: str) -> dict[str, str]:
        return {
            name: manifest["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
            for manifest in template(helm, values, *options)
            if manifest["kind"] in ("Deployment", "StatefulSet")
            for name in [manifest["metadata"]["name"]]
        }

    before = checksums()
    assert len(before) == 6
    assert len(set(before.values())) == 1
    after = checksums("--set-string", "global.settings.RECSYS_TIME_ZONE=Europe/Berlin")
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("global.settings.RECSYS_TIMEZONE=UTC", "additional properties 'RECSYS_TIMEZONE'"),
        ("recsys-gateway.replica=2", "additional properties 'replica'"),
        ("global.setings.RECSYS_SEED=8", "at '/global': additional properties 'setings'"),
        ("recsys-gatewy.image=x", "additional properties 'recsys-gatewy'"),
        ("fillIn.tags=x", "additional properties 'tags'"),
        ("fillIn.tag=9", "fillIn.tag is 9, and nothing reads it"),
    ],
)
def test_a_misspelt_value_is_refused_at_every_depth(refused, option, message):
    assert message in refused("recsys", "--set-string", option)


def test_the_gateway_has_a_way_in_with_a_certificate_only(helm, refused, tmp_path):
    way = ["enabled=true", "className=alb", "host=shop.example"]
    options = [f"--set=recsys-gateway.ingress.{one}" for one in way]
    assert "name no certificate" in refused("recsys", *options)
    tls = "--set=recsys-gateway.ingress.tlsSecret=shop-tls"
    ingress = one(
        template(helm, CHART / "ci" / "test-values.yaml", *options, tls),
        "Ingress",
        "recsys-gateway",
    )["spec"]
    assert ingress["tls"] == [{"hosts": ["shop.example"], "secretName": "shop-tls"}]
    paths = {path["path"] for path in ingress["rules"][0]["http"]["paths"]}
    assert paths == {"/recommend", "/similar", "/popular", "/images", "/events"}


def test_a_host_may_be_a_wildcard_and_a_subnet_of_ipv6(helm):
    way = ["enabled=true", "className=nginx", "host=*.shop.example", "tlsSecret=shop-tls"]
    manifests = template(
        helm,
        CHART / "ci" / "test-values.yaml",
        *(f"--set=recsys-gateway.ingress.{one}" for one in way),
        '--set-json=recsys-gateway.network.ingressCidrs=["::ffff:0:0/96"]',
    )
    ingress = one(manifests, "Ingress", "recsys-gateway")["spec"]
    assert ingress["rules"][0]["host"] == ingress["tls"][0]["hosts"][0] == "*.shop.example"
    (rule,) = one(manifests, "NetworkPolicy", "recsys-gateway")["spec"]["ingress"]
    assert {"ipBlock": {"cidr": "::ffff:0:0/96"}} in rule["from"]


def test_a_load_balancer_that_sends_to_pods_names_its_subnets(helm, refused, tmp_path):
    values = tmp_path / "values.yaml"
    annotations = {
        "alb.ingress.kubernetes.io/target-type": "ip",
        "alb.ingress.kubernetes.io/certificate-arn": "arn:aws:acm:eu-central-1:1:certificate/2",
    }
    way = {"enabled": True, "className": "alb", "host": "shop.example", "annotations": annotations}
    values.write_text(yaml.safe_dump({"recsys-gateway": {"ingress": way}}))
    said = refused("recsys", "--values", str(values))
    assert "network.ingressCidrs is empty, and with target-type ip" in said
    subnets = '--set-json=recsys-gateway.network.ingressCidrs=["10.0.0.0/20"]'
    assert template(helm, CHART / "ci" / "test-values.yaml", values, subnets)


def test_policies_open_the_port_of_the_store(helm):
    values = CHART / "ci" / "test-values.yaml"

    def open_for(*options: str) -> dict[str, set[int]]:
        return {
            manifest["metadata"]["name"]: {
                port["port"]
                for rule in manifest["spec"].get("egress", ())
                if {"ipBlock": {"cidr": "10.0.64.0/20"}} in rule.get("to", ())
                for port in rule["ports"]
            }
            for manifest in template(helm, values, *options)
            if manifest["kind"] == "NetworkPolicy"
        }

    before = {name for name, ports in open_for().items() if ports == {6379}}
    assert before == {"recsys-dagster-steps", "recsys-triton", "recsys-gateway", "recsys-consumer"}
    moved = open_for("--set-string=global.settings.RECSYS_VALKEY_PORT=6380")
    assert {name for name, ports in moved.items() if ports == {6380}} == before


def test_the_rate_limit_counts_the_clients_of_load_balancers(helm, monkeypatch):
    values = CHART / "ci" / "test-values.yaml"
    option = '--set-json=recsys-gateway.network.ingressCidrs=["10.0.0.0/20"]'
    other = '--set-json=recsys-gateway.network.trustedProxies=["10.1.2.3"]'
    setting = "--set-string=global.settings.RECSYS_TRUSTED_PROXIES=10.9.9.9"
    cases = {
        (): None,
        (setting,): None,  # it is in recsys-settings
        (option, other): "10.0.0.0/20,10.1.2.3",
        (option, setting): "10.0.0.0/20,10.9.9.9",
    }
    for options, wanted in cases.items():
        deployment = one(template(helm, values, *options), "Deployment", "recsys-gateway")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        found = {entry["name"]: entry.get("value") for entry in container["env"]}
        assert found.get("RECSYS_TRUSTED_PROXIES") == wanted
    monkeypatch.setenv("RECSYS_TRUSTED_PROXIES", "10.0.0.0/20,10.1.2.3")
    assert Settings().trusted_proxies == "10.0.0.0/20,10.1.2.3"


def test_a_policy_selects_every_pod(rendered):
    """What no policy selects is open, or shut where the cluster's network is strict."""
    manifests = rendered("recsys")
    policies = [
        manifest["spec"]["podSelector"]["matchLabels"]
        for manifest in manifests
        if manifest["kind"] == "NetworkPolicy"
    ]
    found = 0
    for manifest in manifests:
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template", {})
        if "containers" not in template.get("spec", {}):
            continue
        labels = template["metadata"]["labels"]
        assert any(selector.items() <= labels.items() for selector in policies), labels
        found += 1
    assert found == 9
