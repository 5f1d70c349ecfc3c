"""Test on a real Kubernetes that the charts serve: from the namespace to a rollback.

The tests of this file are steps of one walk and run in order.
"""

from __future__ import annotations

import json
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from recsys_assets_tests.cluster.conftest import say
from recsys_assets_tests.cluster.shop import LIMIT, NAMESPACE, STEP, TAG, TOKEN, Shop
from recsys_assets_tests.cluster.walk import after_the_last as after_the_last
from recsys_assets_tests.cluster.walk import essential
from recsys_assets_tests.helm.conftest import DEFINITIONS
from tools.cluster.commands import ClusterError, wait_until
from tools.cluster.kubernetes_api import NAMESPACE as CONTAINERD_NAMESPACE
from tools.cluster.kubernetes_api import apply, get, kubectl, kubectl_command

CHARTS = ("recsys-base", "recsys-karpenter", "recsys-triton", "recsys-gateway", "recsys-dagster")
BAD_TAG = "no-such-tag"
BODY = {"user_id": "1", "top_k": 5}


def recommend(shop: Shop, user: str = "1") -> dict:
    """Ask a gateway pod from outside of the cluster."""
    answer = httpx.post(
        f"http://{shop.address('gateway')}:8080/recommend",
        json={"user_id": user, "top_k": 10},
        timeout=30,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


@dataclass
class Traffic:
    """Asks the gateway's Service all the time, as a load balancer's clients do."""

    shop: Shop
    statuses: list[int] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Traffic:
        service = get(self.shop.cluster, "service/recsys-gateway", f"--namespace={NAMESPACE}")
        self._url = f"http://{service['spec']['clusterIP']}/recommend"
        self._client = httpx.Client(timeout=15, trust_env=False)
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def _ask(self) -> None:
        while not self._end.is_set():
            try:
                self.statuses.append(self._client.post(self._url, json=BODY).status_code)
            except httpx.HTTPError:
                self.statuses.append(0)
            time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


@essential
def test_the_namespace_refuses_an_unrestricted_pod(shop: Shop) -> None:
    shop.make_namespace()
    shop.make_volumes()
    container = {"name": "main", "image": f"localhost/recsys-platform:{TAG}"}
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}}
    with pytest.raises(ClusterError, match="violates PodSecurity") as refused:
        apply(shop.cluster, {**pod, "metadata": {"name": "root", "namespace": NAMESPACE}})
    for violation in (
        "allowPrivilegeEscalation != false",
        "unrestricted capabilities",
        "runAsNonRoot != true",
        "seccompProfile",
    ):
        assert violation in str(refused.value)


@essential
def test_every_chart_passes_the_servers_validation(shop: Shop) -> None:
    if not DEFINITIONS.is_dir():
        pytest.fail(f"{DEFINITIONS} holds the custom resources that the charts use, and is missing")
    shop.make_definitions()
    for chart in CHARTS:
        shop.install(chart, "--dry-run=server")
    with pytest.raises(ClusterError, match=r"unknown field|additional properties|not allowed"):
        shop.install("recsys-gateway", "--dry-run=server", gatewy={})


@essential
def test_base_karpenter_and_triton_install(shop: Shop) -> None:
    shop.install("recsys-base")
    shop.install("recsys-karpenter")
    pools = get(shop.cluster, "nodepools.karpenter.sh")["items"]
    assert {pool["metadata"]["name"] for pool in pools} == {"recsys-cpu", "recsys-gpu"}
    shop.install("recsys-triton")
    assert len(shop.ready("triton")) == 1


@essential
def test_the_gateway_waits_for_a_release_and_the_consumer_is_ready(shop: Shop) -> None:
    shop.install("recsys-gateway", "--wait=false")
    wait_until(lambda: len(shop.ready("consumer")) == 1, "a ready consumer", LIMIT, every=1)
    wait_until(
        lambda: any(one.get("started") for p in shop.pods("gateway") for one in _containers(p)),
        "a started gateway",
        LIMIT,
        every=1,
    )
    assert shop.ready("gateway") == []


def _containers(pod: dict) -> list[dict]:
    return pod["status"].get("containerStatuses", [])


@essential
def test_a_step_pod_promotes_the_release(shop: Shop) -> None:
    shop.promote()


@essential
def test_the_first_recommendation_over_http(shop: Shop) -> None:
    answer = recommend(shop)
    assert len(answer["items"]) == 10
    assert answer["release"]["ranker"] >= 1
    assert not answer["degraded"], answer["degraded"]
    releases = json.loads(shop.helm("list", "--output=json"))
    first = min(one["updated"] for one in releases)
    say(f"first recommendation; the first chart was installed at {first}")


def test_an_event_reaches_the_landing_zone(shop: Shop) -> None:
    item = recommend(shop)["items"][0]["item_id"]
    sent = httpx.post(
        f"http://{shop.address('gateway')}:8080/events",
        json={"user_id": "1", "item_id": item, "event_type": "View", "event_id": "of-the-test"},
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=30,
        trust_env=False,
    )
    assert sent.status_code in (200, 202), sent.text
    landing = shop.volumes / "recsys-shared/home/landing"

    def landed() -> bool:
        new = [p for p in landing.rglob("*.parquet") if p.stat().st_mtime > time.time() - 120]
        return any(b"of-the-test" in path.read_bytes() for path in new)

    wait_until(landed, "the event in the landing zone", 60.0, every=1)


# --- network policies ---
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=4).close()
    print("open")
except OSError as error:
    print("shut", error)
"""
RESOLVE = """
import socket
try:
    print("open", socket.gethostbyname("recsys-triton"))
except OSError as error:
    print("shut", error)
"""
IDLE = ["python", "-S", "-c", "import time; time.sleep(100000)"]
LISTEN = (
    "import socket; s = socket.create_server(('0.0.0.0', 9000));\nwhile True: s.accept()[0].close()"
)


@pytest.fixture(scope="module")
def probes(shop: Shop) -> Iterator[dict[str, tuple[str, str]]]:
    """Start pods of each kind that a policy knows; return their namespace and name by kind."""
    training = {"app.kubernetes.io/part-of": "recsys", "app.kubernetes.io/component": "training"}
    kinds = {
        "step": (NAMESPACE, STEP),
        "stranger": (NAMESPACE, {}),
        "training": (NAMESPACE, training),
        "prometheus": ("monitoring", {}),
        "ingress": ("kube-system", {}),
    }
    for kind, (namespace, labels) in kinds.items():
        shop.run_pod(f"probe-{kind}", IDLE, labels, namespace=namespace)
    for kind, (namespace, _) in kinds.items():
        ready = ("wait", "--for=condition=Ready", f"pod/probe-{kind}", "--timeout=120s")
        kubectl(shop.cluster, f"--namespace={namespace}", *ready, limit=150)
    found = {kind: (namespace, f"probe-{kind}") for kind, (namespace, _) in kinds.items()}
    for component in ("gateway", "consumer", "triton"):
        found[component] = (NAMESPACE, shop.ready(component)[0])
    yield found
    for kind, (namespace, _) in kinds.items():
        kubectl(shop.cluster, f"--namespace={namespace}", "delete", "pod", f"probe-{kind}")


def connects(shop: Shop, pod: tuple[str, str], address: str, port: int) -> bool:
    """Return whether a pod reaches an address."""
    return _asked(shop, pod, CONNECT, address, str(port))


def _asked(shop: Shop, pod: tuple[str, str], code: str, *arguments: str) -> bool:
    namespace, name = pod
    python = ("python3", "-S", "-E", "-c", code, *arguments)
    said = kubectl(shop.cluster, f"--namespace={namespace}", "exec", name, "--", *python)
    assert said.startswith(("open", "shut")), said
    return said.startswith("open")


#: From → to, port, whether it is open. Each target that is shut to one is open to another.
TRITON = [
    ("gateway", 8001, True),
    ("step", 8001, True),
    ("stranger", 8001, False),
    ("consumer", 8001, False),
    ("training", 8001, False),
    ("prometheus", 8001, False),
    ("prometheus", 8002, True),
    ("gateway", 8002, False),
    ("step", 8000, False),
    ("prometheus", 8000, False),
]
GATEWAY = [
    ("ingress", 8080, True),
    ("prometheus", 8080, True),
    ("stranger", 8080, False),
    ("step", 8080, False),
    ("consumer", 8080, False),
    ("training", 8080, False),
]
HOST = [
    *((who, port, True) for who in ("gateway", "consumer", "triton") for port in (6379, 443)),
    *((who, 9999, False) for who in ("gateway", "consumer", "triton")),
    ("stranger", 9999, True),
    ("stranger", 6379, True),
    ("training", 6379, False),
    ("training", 443, False),
]


def judged(shop: Shop, probes: dict, table: list, address: str) -> list[str]:
    """Return the lines of a table that do not hold."""
    return [
        f"{who} → {address}:{port} should be {'open' if is_open else 'shut'}"
        for who, port, is_open in table
        if connects(shop, probes[who], address, port) != is_open
    ]


def test_the_policy_of_triton_is_open_and_shut(shop: Shop, probes: dict) -> None:
    address = shop.address("triton")
    assert judged(shop, probes, TRITON, address) == []
    # HTTP is open to nobody but the kubelet; it listens all the same
    assert connects(shop, probes["triton"], "127.0.0.1", 8000)


def test_the_policy_of_the_gateway_is_open_and_shut(shop: Shop, probes: dict) -> None:
    assert judged(shop, probes, GATEWAY, shop.address("gateway")) == []
    assert recommend(shop)["items"]  # from the load balancer's subnet


def test_the_ways_out_are_open_and_shut(shop: Shop, probes: dict) -> None:
    address = (shop.cluster.host, 9999)
    with socketserver.ThreadingTCPServer(address, socketserver.BaseRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        found = judged(shop, probes, HOST, shop.cluster.host)
        server.shutdown()
    assert found == []
    names = {who: _asked(shop, probes[who], RESOLVE) for who in ("gateway", "consumer", "training")}
    assert names == {"gateway": True, "consumer": True, "training": False}


def test_nobody_reaches_the_consumer(shop: Shop, probes: dict) -> None:
    _, consumer = probes["consumer"]
    inside = ("exec", consumer, "--", "python3", "-S", "-E", "-c", LISTEN)
    listening = subprocess.Popen(
        [*kubectl_command(shop.cluster), f"--namespace={NAMESPACE}", *inside],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(
            lambda: connects(shop, probes["consumer"], "127.0.0.1", 9000), "a listener", 60, every=1
        )
        address = shop.address("consumer")
        for who in ("stranger", "gateway", "prometheus", "step"):
            assert not connects(shop, probes[who], address, 9000), who
    finally:
        listening.kill()
        listening.wait()


# --- upgrades ---
@pytest.mark.parametrize("chart", ["recsys-triton", "recsys-gateway"])
def test_an_upgrade_to_a_bad_tag_takes_nothing_away(shop: Shop, chart: str) -> None:
    components = ["triton"] if chart == "recsys-triton" else ["gateway", "consumer"]
    before = {one: set(shop.ready(one)) for one in components}
    image = {**shop.values(chart)["image"], "tag": BAD_TAG}
    with Traffic(shop) as traffic, pytest.raises(ClusterError):
        shop.install(chart, "--wait", "--timeout=60s", image=image)
    gone = {one: sorted(before[one] - set(shop.ready(one))) for one in components}
    assert {one: names for one, names in gone.items() if names} == {}
    assert len(traffic.statuses) > 20
    assert set(traffic.statuses) == {200}


@pytest.mark.parametrize("chart", ["recsys-triton", "recsys-gateway"])
def test_a_rollback_ends_the_bad_upgrade(shop: Shop, chart: str) -> None:
    shop.helm("rollback", chart, "--wait", "--timeout=5m")
    for component in ["triton"] if chart == "recsys-triton" else ["gateway", "consumer"]:
        _wait_for_tag(shop, component, TAG)
    assert recommend(shop)["items"]


def _wait_for_tag(shop: Shop, component: str, tag: str) -> None:
    """Wait until all pods of a component have a tag and one of them is ready."""

    def settled() -> bool:
        tags = {image.rpartition(":")[2] for image in shop.images(component)}
        return tags == {tag} and bool(shop.ready(component))

    wait_until(settled, f"{component} with the tag {tag}", LIMIT, every=1)


def test_an_upgrade_to_a_good_tag_and_its_rollback_answer_all_the_time(shop: Shop) -> None:
    node = shop.cluster.nodes[0]
    names = [f"localhost/recsys-gateway:{tag}" for tag in (TAG, "2")]
    socket = ("ctr", "--address", str(shop.cluster.socket(node)), "-n", CONTAINERD_NAMESPACE)
    subprocess.run([*socket, "images", "tag", *names], check=True, capture_output=True)
    image = {**shop.values("recsys-gateway")["image"], "tag": "2"}
    with Traffic(shop) as traffic:
        shop.install("recsys-gateway", image=image)
        _wait_for_tag(shop, "gateway", "2")
        shop.helm("rollback", "recsys-gateway", "--wait", "--timeout=10m")
        _wait_for_tag(shop, "gateway", TAG)
    assert len(traffic.statuses) > 20
    assert set(traffic.statuses) == {200}
