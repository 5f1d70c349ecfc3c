"""Test how an installation is read, over HTTP; `make cluster-test` reads a real one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml

from recsys_assets.operations.eks.installed import NoCluster, read
from recsys_assets_tests.support.json_server import NOT_FOUND, json_server, kubeconfig

_WORDS = "buildDate compiler gitCommit gitTreeState gitVersion goVersion platform".split()
VERSION = dict.fromkeys(_WORDS, "x")
#: Path → status, answer.
ANSWERS: dict[str, tuple[int, dict[str, Any]]] = {
    "/version/": (200, {**VERSION, "major": "1", "minor": "34+"}),
    "/api/v1/namespaces/shop": (200, {"metadata": {"name": "shop"}}),
    "/api/v1/namespaces/shop/configmaps": (
        200,
        {"items": [{"metadata": {"name": "recsys-settings"}, "data": {"RECSYS_SEED": "7"}}]},
    ),
    "/api/v1/namespaces/shop/secrets": (
        200,
        {"items": [{"metadata": {"name": "recsys-secrets"}, "data": {"RECSYS_TOKEN": "c2VjcmV0"}}]},
    ),
    "/api/v1/nodes": (403, {"kind": "Status", "reason": "Forbidden"}),
    "/apis/karpenter.sh/v1/nodepools": (404, {"kind": "Status", "reason": "NotFound"}),
}
EMPTY = (200, {"items": []})


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    answers = dict(ANSWERS)

    def answer(path: str) -> tuple[int, Any]:
        path = path.split("?")[0]
        return answers.get(path, EMPTY if "/namespaces/shop/" in path else (404, NOT_FOUND))

    with json_server(answer) as address:
        (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig(address)))
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config")
        )
        yield answers


def test_a_namespace_is_read_and_no_secret_is_kept(api: dict[str, Any]) -> None:
    found = read("shop")
    assert found.version == (1, 34)
    assert found.of("ConfigMap")["recsys-settings"]["data"] == {"RECSYS_SEED": "7"}
    assert found.of("Secret")["recsys-secrets"]["data"] == {"RECSYS_TOKEN": ""}
    assert found.refused == {"Node"}
    assert found.of("NodePool") == found.of("Pod") == {}


def test_what_cannot_be_asked_is_named(api: dict[str, Any]) -> None:
    with pytest.raises(NoCluster, match="there is no namespace 'other': install the charts"):
        read("other")
    with pytest.raises(NoCluster, match="name a context by --context"):
        read("shop", "nowhere")
    api["/version/"] = (401, {"kind": "Status", "reason": "Unauthorized"})
    with pytest.raises(NoCluster, match=r"the cluster refuses: Unauthorized \(401\)"):
        read("shop")
    api["/version/"] = (200, {"message": "log in"})
    with pytest.raises(NoCluster, match="does not answer as a Kubernetes API does"):
        read("shop")


@pytest.mark.parametrize("content", [b"a: [1", b"hello", b"\x00\xff", None])
def test_a_kubeconfig_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = tmp_path / "config"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    with pytest.raises(NoCluster, match="no cluster to ask"):
        read("shop")


def test_a_cluster_that_is_silent_is_named(
    api: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr("recsys_assets.operations.eks.installed.TIMEOUT", (0.1, 0.1))
    path = Path(kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION)
    config = yaml.safe_load(path.read_text())
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    config["clusters"][0]["cluster"]["server"] = url
    path.write_text(yaml.safe_dump(config))
    with silent, pytest.raises(NoCluster, match="the cluster does not answer"):
        read("shop")
