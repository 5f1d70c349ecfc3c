"""Test on a real Kubernetes the ways in from outside: an ingress controller, certificates, log-in.

The client is curl on this machine. Building Traefik takes as long as Kubernetes itself, so these
tests run where it is built already, or with INGRESS=1.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest

from recsys_assets_tests.cluster import outside
from recsys_assets_tests.cluster.conftest import say
from recsys_assets_tests.cluster.shop import LIMIT, NAMESPACE, TOKEN, Shop
from tools.cluster import binaries, certificates, ingress
from tools.cluster.commands import run, wait_until, without_proxies
from tools.cluster.kubernetes_api import apply

HOSTS = SHOP, DAGSTER = ("shop.example", "dagster.example")
USER, PASSWORD = "ana", "of-the-data-scientist"
EVENT = {"user_id": "1", "item_id": "1", "event_type": "View", "device_type": "mobile"}
QUERY = {"query": "{ version }"}

pytestmark = pytest.mark.skipif(
    bool(binaries.missing((binaries.TRAEFIK,))) and not os.environ.get("INGRESS"),
    reason="Traefik is not built: make cluster-test INGRESS=1",
)


@dataclass(frozen=True)
class Door:
    """What a client outside of the cluster knows of it.

    Attributes:
        address: of the ingress controller.
        authority: file of the authority that has signed the certificates.
    """

    address: str
    authority: str

    def curl(self, url: str, *options: str) -> tuple[int, str]:
        """Return the status and the body of an answer; certificates are verified."""
        given = [
            ("--cacert", self.authority),
            ("--max-time", "30"),
            ("--write-out", r"\n%{http_code}"),
        ]
        for host in HOSTS:
            given += [("--resolve", f"{host}:{port}:{self.address}") for port in (80, 443)]
        words = [word for pair in given for word in pair]
        done = subprocess.run(
            ["curl", "--silent", "--show-error", *words, *options, url],
            env=without_proxies(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body

    def post(self, url: str, body: object, *options: str) -> tuple[int, str]:
        """Post JSON."""
        header = ("--header", "content-type: application/json")
        return self.curl(url, *header, "--data", json.dumps(body), *options)


def bearer(token: str) -> tuple[str, str]:
    """Return curl's option with a token."""
    return "--header", f"authorization: Bearer {token}"


@pytest.fixture(scope="module")
def door(serving: Shop, database: outside.Postgres) -> Door:
    """Return the way in; both parts have an Ingress, a host and a certificate of their own."""
    address = ingress.install(serving.cluster, say)
    pki = serving.cluster.pki
    ways: dict[str, dict[str, Any]] = {}
    for host, secret in ((SHOP, "shop-tls"), (DAGSTER, "dagster-tls")):
        certificates.signed(pki, secret, f"/CN={host}", names=(host,))
        files = (f"--cert={pki / secret}.crt", f"--key={pki / secret}.key")
        serving.kubectl("create", "secret", "tls", secret, *files)
        ways[host] = {"enabled": True, "className": "nginx", "host": host, "tlsSecret": secret}
    users = f"{USER}:{run('openssl', 'passwd', '-apr1', PASSWORD).strip()}"
    metadata = {"name": "dagster-users", "namespace": NAMESPACE}
    apply(
        serving.cluster,
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"auth": users}},
    )
    nginx = "nginx.ingress.kubernetes.io"
    ways[DAGSTER]["annotations"] = {
        f"{nginx}/auth-type": "basic",
        f"{nginx}/auth-secret": "dagster-users",
        f"{nginx}/auth-realm": "Dagster",
    }
    serving.change(
        {"recsys-gateway": {"ingress": ways[SHOP]}, "recsys-dagster": {"ingress": ways[DAGSTER]}}
    )
    opened = Door(address, str(pki / "ca.crt"))

    def opens() -> bool:
        try:
            return opened.curl(f"https://{SHOP}/popular")[0] == 200
        except AssertionError:  # the controller has a certificate of its own until it reads ours
            return False

    wait_until(opens, "the way in", LIMIT, every=1)
    return opened


def test_a_client_gets_a_recommendation_over_https(door: Door) -> None:
    status, body = door.post(f"https://{SHOP}/recommend", {"user_id": "1", "top_k": 10})
    assert status == 200, body
    answer = json.loads(body)
    assert len(answer["items"]) == 10
    assert not answer["degraded"], answer["degraded"]


def test_plain_http_is_only_redirected(door: Door) -> None:
    for host in HOSTS:
        status, body = door.curl(f"http://{host}/popular")
        assert 300 <= status < 400, body


def test_what_shops_do_not_call_stays_inside(door: Door) -> None:
    inside = ("/metrics", "/readyz", "/healthz", "/docs", "/openapi.json", "/explain", "/")
    found = {path: door.curl(f"https://{SHOP}{path}")[0] for path in inside}
    assert found == dict.fromkeys(inside, 404)
    assert door.post(f"https://{SHOP}/reset", {"user_id": "1"}, *bearer(TOKEN))[0] == 404


def test_events_need_the_token(door: Door) -> None:
    events = {"events": [EVENT]}
    assert door.post(f"https://{SHOP}/events", events)[0] == 401
    assert door.post(f"https://{SHOP}/events", events, *bearer(f"{TOKEN}x"))[0] == 403
    status, body = door.post(f"https://{SHOP}/events", events, *bearer(TOKEN))
    assert status == 202, body


def test_dagster_asks_for_a_log_in(door: Door) -> None:
    url = f"https://{DAGSTER}/graphql"
    assert door.post(url, QUERY)[0] == 401
    assert door.post(url, QUERY, "--user", f"{USER}:wrong")[0] == 401
    status, body = door.post(url, QUERY, "--user", f"{USER}:{PASSWORD}")
    assert status == 200, body
    assert json.loads(body)["data"]["version"]


def test_a_host_that_no_ingress_names_reaches_nothing(door: Door) -> None:
    status, _ = door.curl(f"https://{SHOP}/popular", "--header", "host: other.example")
    assert status == 404
