"""Test that the charts refuse values that they do not know, and run in any namespace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from recsys_assets.settings import Settings
from recsys_assets_tests.helm.conftest import CHARTS

NAMES = sorted(path.parent.name for path in CHARTS.glob("*/Chart.yaml"))
#: These settings come from the Secret and from the release, not from values.
NOT_VALUES = {"RECSYS_TOKEN", "RECSYS_VALKEY_PASSWORD", "RECSYS_K8S_NAMESPACE"}


def schema_of(chart: str) -> dict[str, Any]:
    return json.loads((CHARTS / chart / "values.schema.json").read_text())


def described(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with what its ``$ref`` names; its own description goes first."""
    if "$ref" not in schema:
        return schema
    return {**root["$defs"][schema["$ref"].rsplit("/", 1)[1]], **schema}


def properties(
    schema: dict[str, Any], root: dict[str, Any], path: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the dotted name and the schema of every property."""
    for name, given in schema.get("properties", {}).items():
        found = described(given, root)
        yield f"{path}{name}", found
        yield from properties(found, root, f"{path}{name}.")


def names_in(values: dict[str, Any], known: dict[str, Any], path: str = "") -> Iterator[str]:
    """Return the dotted name of every value; labels and annotations have names of their own."""
    for name, value in values.items():
        yield f"{path}{name}"
        free = known.get(f"{path}{name}", {}).get("additionalProperties")
        if isinstance(value, dict) and not free:
            yield from names_in(value, known, f"{path}{name}.")


@pytest.mark.parametrize("chart", NAMES)
def test_every_value_is_known_and_described(chart: str) -> None:
    schema = schema_of(chart)
    known = dict(properties(schema, schema))
    for name, found in {"": schema, **known}.items():
        assert found.get("description") or found.get("title"), name
        # a chart that holds this one has values of its own
        if found.get("type") == "object" and name != "global" and name not in NAMES:
            assert found["additionalProperties"] in (False, {"type": "string"}), name
    values = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
    assert set(names_in(values, known)) <= set(known)
    assert set(values) == set(schema["properties"]) - {"fillIn"}, "values.yaml shows every value"


def test_the_settings_are_those_of_the_settings_object() -> None:
    known = {f"RECSYS_{name.upper()}" for name in Settings.model_fields}
    assert known >= NOT_VALUES
    assert set(schema_of("recsys-base")["$defs"]["settings"]["properties"]) == (known - NOT_VALUES)


@pytest.mark.parametrize(
    ("chart", "value", "message"),
    [
        ("karpenter", "gpu.instanceType=x", "at '/gpu': additional properties 'instanceType'"),
        ("recsys-base", "storage.shred=1Gi", "at '/storage': additional properties 'shred'"),
        (
            "recsys-base",
            "settings.RECSYS_VALKY_HOST=x",
            "additional properties 'RECSYS_VALKY_HOST'",
        ),
        ("recsys-base", "settings.RECSYS_TOKEN=x", "additional properties 'RECSYS_TOKEN'"),
        ("recsys-base", "settings.RECSYS_VALKEY_PORT=6379", "got number, want string"),
        ("recsys-gateway", "replicas=2", "at '': additional properties 'replicas'"),
        ("recsys-gateway", "image.tag=latest", "at '/image/tag': 'not' failed"),
        ("recsys-triton", "gpu.enabled=true", "at '': additional properties 'gpu'"),
        ("recsys-triton", "resources.limits.mem=1Gi", "additional properties 'mem'"),
        (
            "recsys-triton",
            "autoscaling.targetQueueMsPerRequest=50m",
            "at '/autoscaling/targetQueueMsPerRequest': '50m' does not match",
        ),
    ],
)
def test_a_misspelt_value_is_refused(refused, chart: str, value: str, message: str) -> None:
    assert message in refused(chart, "--set", value)


@pytest.mark.parametrize("chart", ["recsys-triton", "recsys-gateway"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[]", "at '/network/valkeyCidrs': minItems: got 0, want 1"),
        ("null", "at '/network': missing property 'valkeyCidrs'"),
        ('["0.0.0.0/0"]', "at '/network/valkeyCidrs/0': '0.0.0.0/0' does not match"),
    ],
)
def test_the_store_needs_subnets(refused, chart: str, value: str, message: str) -> None:
    assert message in refused(chart, "--set-json", f"network.valkeyCidrs={value}")


@pytest.mark.parametrize("chart", ["recsys-triton", "recsys-gateway"])
def test_without_subnets_the_store_is_shut(helm, chart: str) -> None:
    """Even where the schema is skipped, no subnets do not mean every address."""
    text = helm(
        *("template", "release", str(CHARTS / chart), "--skip-schema-validation"),
        *("--values", str(CHARTS / chart / "ci" / "test-values.yaml")),
        *("--set-json", "network.valkeyCidrs=[]"),
    )
    policies = [one for one in yaml.safe_load_all(text) if one and one["kind"] == "NetworkPolicy"]
    assert policies
    for policy in policies:
        rules = policy["spec"].get("egress", [])
        if policy["metadata"]["name"] == "recsys-image-check":  # reaches nothing at all
            assert rules == []
            continue
        assert [rule["ports"] for rule in rules if not rule.get("to")] == [
            [{"protocol": "TCP", "port": 443}]
        ]
        assert 6379 not in [port["port"] for rule in rules for port in rule["ports"]]


def test_another_namespace_works(helm, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys_assets.orchestration import compute

    manifests = [
        one
        for chart in NAMES
        if chart != "recsys"  # it holds the others
        for one in yaml.safe_load_all(
            helm(
                *("template", "release", str(CHARTS / chart), "--namespace", "shop", "--values"),
                str(CHARTS / chart / "ci" / "test-values.yaml"),
            )
        )
        if one
    ]
    # no object and no address is bound to a namespace; the release's own is the only one
    assert {one["metadata"].get("namespace", "shop") for one in manifests} == {"shop"}
    assert ".recsys.svc" not in yaml.safe_dump_all(manifests)
    (settings,) = [one["data"] for one in manifests if one["metadata"]["name"] == "recsys-settings"]
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    here = Settings()
    assert here.k8s_namespace == "shop"
    resolved = compute.executor_for(here).config_schema.resolve_config({}).value
    assert resolved.get("config", resolved)["job_namespace"] == "shop"
