"""Test that changed settings and secrets replace the pods that read them.

Helm's ``lookup`` asks a real Kubernetes API; a small one answers here, over HTTP.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from recsys_assets_tests.helm.conftest import CHARTS
from recsys_assets_tests.support.json_server import NOT_FOUND, json_server

NAMESPACE = "shop"


def discovery(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """Return path → answer of the API's discovery, for the kinds of these manifests."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for one in [*manifests, {"apiVersion": "v1", "kind": "Secret"}]:
        kinds[one["apiVersion"]].add(one["kind"])
    kinds["v1"] |= {"ConfigMap"}
    answers: dict[str, Any] = {
        "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.3"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
    }
    groups = []
    for version in kinds:
        answers[f"/api/{version}" if version == "v1" else f"/apis/{version}"] = {
            "kind": "APIResourceList",
            "groupVersion": version,
            "resources": [
                {
                    "name": f"{kind[:-1]}ies".lower() if kind.endswith("y") else f"{kind}s".lower(),
                    "kind": kind,
                    "namespaced": True,
                    "verbs": ["get"],
                }
                for kind in sorted(kinds[version])
            ],
        }
        if version != "v1":
            known = {"groupVersion": version, "version": version.split("/")[1]}
            groups.append(
                {"name": version.split("/")[0], "versions": [known], "preferredVersion": known}
            )
    answers["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    return answers


@pytest.fixture
def api() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the address of a Kubernetes API, and the answers that it gives, by path."""
    answers: dict[str, Any] = {}

    def answer(path: str) -> tuple[int, Any]:
        found = answers.get(path.split("?")[0])
        return (404, NOT_FOUND) if found is None else (200, found)

    with json_server(answer) as address:
        yield address, answers


DAGSTER = {f"recsys-dagster-{part}" for part in ("webserver", "daemon", "code")}


@pytest.mark.parametrize(
    ("chart", "workloads", "name"),
    [
        ("recsys-triton", {"recsys-triton"}, "recsys-secrets"),
        ("recsys-gateway", {"recsys-gateway", "recsys-consumer"}, "recsys-secrets"),
        ("recsys-dagster", DAGSTER, "recsys-secrets"),
        ("recsys-dagster", DAGSTER, "dagster-postgresql"),
    ],
)
def test_changed_settings_and_secrets_replace_pods(
    helm: Callable[..., str],
    rendered: Callable[..., list[dict[str, Any]]],
    api: tuple[str, dict[str, Any]],
    chart: str,
    workloads: set[str],
    name: str,
) -> None:
    address, answers = api
    answers |= discovery(rendered(chart))
    settings, secret = (
        f"/api/v1/namespaces/{NAMESPACE}/{path}"
        for path in ("configmaps/recsys-settings", f"secrets/{name}")
    )

    def pod_templates(data: dict[str, str], token: str, version: str) -> dict[str, str]:
        """Return workload → pod template, with these settings and this Secret in the cluster."""
        answers[settings] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "recsys-settings", "resourceVersion": version},
            "data": data,
        }
        answers[secret] = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "resourceVersion": version},
            "data": {"RECSYS_TOKEN": token},
        }
        text = helm(
            "template",
            "release",
            str(CHARTS / chart),
            *("--namespace", NAMESPACE, "--dry-run=server", "--disable-openapi-validation"),
            *("--kube-apiserver", address),
            *("--values", str(CHARTS / chart / "ci" / "test-values.yaml")),
        )
        assert token not in text
        return {
            one["metadata"]["name"]: json.dumps(one["spec"]["template"], sort_keys=True)
            for one in yaml.safe_load_all(text)
            if one and one["kind"] in ("Deployment", "StatefulSet")
        }

    first = pod_templates({"RECSYS_RATE_LIMIT": "500"}, "b2xkLXRva2Vu", "7")
    assert set(first) == workloads
    assert pod_templates({"RECSYS_RATE_LIMIT": "500"}, "b2xkLXRva2Vu", "7") == first
    changed_settings = pod_templates({"RECSYS_RATE_LIMIT": "50"}, "b2xkLXRva2Vu", "7")
    changed_secret = pod_templates({"RECSYS_RATE_LIMIT": "500"}, "bmV3LXRva2Vu", "8")
    for part in workloads:
        assert len({first[part], changed_settings[part], changed_secret[part]}) == 3, part
