"""Test on a real Kubernetes that the autoscalers read what they are set to, and follow it.

Building Prometheus, its adapter and metrics-server takes as long as Kubernetes itself, so these
tests run where the programs are built already, or with METRICS=1.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import yaml

from recsys_assets_tests.cluster import outside
from recsys_assets_tests.cluster.conftest import say
from recsys_assets_tests.cluster.shop import LIMIT, NAMESPACE, Shop
from recsys_assets_tests.helm.conftest import CHARTS
from tools.cluster import binaries, metrics
from tools.cluster.commands import ClusterError, wait_until
from tools.cluster.kubernetes_api import get, kubectl

METRIC = "triton_queue_ms_per_request"
CUSTOM = f"/apis/custom.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods/*/{METRIC}"

pytestmark = pytest.mark.skipif(
    bool(binaries.missing(binaries.METRICS)) and not os.environ.get("METRICS"),
    reason="Prometheus, adapter and metrics-server are not built: make cluster-test METRICS=1",
)


@pytest.fixture(scope="module")
def measured(serving: Shop, database: outside.Postgres) -> Shop:
    """Return the shop with metrics; its autoscaler's target is 5 ms in Triton's queues."""
    rules = yaml.safe_load((CHARTS / "prometheus-adapter-values.yaml").read_text())["rules"]
    metrics.install(serving.cluster, rules["custom"], say)
    values = {**serving.values("recsys-triton")["autoscaling"], "targetQueueMsPerRequest": "5"}
    serving.change({"recsys-triton": {"autoscaling": values}})
    return serving


def queue_ms(shop: Shop) -> dict[str, float]:
    """Return pod → milliseconds in Triton's queues, as autoscalers read it."""
    items = json.loads(kubectl(shop.cluster, "get", "--raw", CUSTOM))["items"]
    return {one["describedObject"]["name"]: _number(one["value"]) for one in items}


def _number(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def test_the_cpu_of_the_gateway_is_known(measured: Shop) -> None:
    def known() -> bool:
        scaler = get(measured.cluster, "hpa/recsys-gateway", f"--namespace={NAMESPACE}")
        return bool((scaler["status"].get("currentMetrics") or [{}])[0].get("resource"))

    wait_until(known, "the gateway's use of CPU", LIMIT, every=2)
    assert "recsys-gateway-" in measured.kubectl("top", "pods")


def test_without_requests_nothing_waits(measured: Shop) -> None:
    def known() -> bool:
        try:
            return bool(queue_ms(measured))
        except ClusterError:
            return False

    wait_until(known, METRIC, LIMIT, every=2)
    assert set(queue_ms(measured)) == set(measured.ready("triton"))
    assert max(queue_ms(measured).values()) < 5


@pytest.fixture
def many_clients(measured: Shop) -> Iterator[list[int]]:
    """Ask the gateway's Service by 16 clients, all the time."""
    service = get(measured.cluster, "service/recsys-gateway", f"--namespace={NAMESPACE}")
    url = f"http://{service['spec']['clusterIP']}/recommend"
    statuses: list[int] = []
    end = threading.Event()

    def ask(number: int) -> None:
        with httpx.Client(timeout=30, trust_env=False) as client:
            while not end.is_set():
                body = {"user_id": str(number), "top_k": 10}
                statuses.append(client.post(url, json=body).status_code)

    with ThreadPoolExecutor(16) as pool:
        asking = [pool.submit(ask, number) for number in range(16)]
        yield statuses
        end.set()
        for one in asking:
            one.result()


def test_requests_that_wait_start_a_second_triton(measured: Shop, many_clients: list[int]) -> None:
    assert len(measured.ready("triton")) == 1
    highest = 0.0

    def two() -> bool:
        nonlocal highest
        highest = max(highest, *queue_ms(measured).values())
        return len(measured.ready("triton")) == 2

    wait_until(two, "a second Triton", LIMIT, every=2)
    say(f"requests waited {highest:.0f} ms; a second Triton serves")
    assert highest > 5
    before = len(many_clients)
    wait_until(lambda: len(many_clients) > before + 100, "more answers", LIMIT)
    assert set(many_clients) == {200}
