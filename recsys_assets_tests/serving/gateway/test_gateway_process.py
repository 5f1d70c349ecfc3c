"""A gateway process before a real Triton: the typed client, hostile sockets, the log as it is
written, and its end by SIGTERM.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from recsys_assets.serving.events.served_log import SERVED
from recsys_assets.serving.gateway.client import GatewayClient, GatewayError, recommend, send_events
from recsys_assets.serving.triton.model_control import grpc_headers
from recsys_assets.serving.triton.replicas import Replica, ReplicaError
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.support.answering_triton import RELEASE, answering, write_answering
from recsys_assets_tests.support.gateway_calls import promote_similar
from recsys_assets_tests.support.small_ads_gateway import ad
from recsys_assets_tests.support.small_shop import promote
from recsys_assets_tests.support.small_triton import settings_for

pytestmark = pytest.mark.services

TOKEN = "sécret"


def log_of(settings: Settings) -> Path:
    return settings.home / f"gateway-{settings.gateway_port}.log"


@contextmanager
def running(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A gateway that serves."""
    with open(log_of(settings), "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "recsys_assets.serving.gateway"],
            cwd=PROJECT_ROOT,
            stderr=log,
            env={**os.environ, **settings.environment()},
            text=True,
        )
    try:
        for _ in range(600):
            if process.poll() is not None:
                break
            try:
                httpx.get(f"{settings.gateway_url}/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        assert process.poll() is None, log_of(settings).read_text()
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, valkey_process: Any) -> Iterator[Settings]:
    home = tmp_path_factory.mktemp("gateway-process")
    made = settings_for(
        home, valkey_port=valkey_process.port, token=TOKEN, triton_timeout_ms=20_000
    )
    write_answering(made.model_repository, ["a", "b", "c"], np.zeros(1, np.uint8))
    promote(made, release=3)
    promote_similar(made, home, [[4, 5], [3, -1], [3, -1], [-1, -1]])
    with answering(made):
        yield made


@pytest.fixture(scope="module")
def gateway(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    with running(settings) as process:
        yield process


def test_the_typed_client_calls_everything(settings: Settings, gateway: Any, valkey: Any) -> None:
    with GatewayClient(settings.gateway_url, TOKEN) as client:
        ready = client.ready()
        assert ready.ready and ready.release == 3
        answer = client.recommend(
            "u", device_type="mobile", timestamp=1_790_000_000, top_k=2, seed=5
        )
        assert (
            [item.item_id for item in answer.items] == ["a", "b"]
            and answer.release is not None
            and answer.release.ranker == 3
        )
        batch = client.recommend_batch([{"user_id": "u", "top_k": 1}, {"user_id": "bits:1"}])
        assert [len(one.items) for one in batch.answers] == [1, 3] and batch.answers[1].degraded
        assert client.send_events(
            [{"user_id": "u", "item_id": "d/4", "event_id": "mine"}]
        ).event_ids == ["mine"]
        assert client.reset("u", "other").event_id == "other"
        label = {"prediction_id": "1a0c4506c7b-ab-1f", "clicked": True}
        assert client.send_ad_labels([label, label]).accepted == 2
        with pytest.raises(GatewayError, match="no release of the ads ranker"):
            client.ads_ctr([ad()])
        assert client.set_availability({"a": "hidden"}).changed == 1
        assert [item.item_id for item in client.similar("b").items] == []
        assert [item.item_id for item in client.popular(category="books").items] == ["b"]
        client.set_availability({"a": "available"})
        assert [item.item_id for item in client.similar("b").items] == ["a"] and client.similar(
            "d/4"
        ).items == []
        with pytest.raises(GatewayError, match="no ranking to explain") as refused:
            client.explain("u")  # this Triton's trace is empty
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
        for call, status, field in (
            (lambda: client.similar("zzz"), 404, "item_id"),
            (lambda: client.recommend(""), 422, "user_id"),
        ):
            with pytest.raises(GatewayError) as refused:
                call()
            assert (refused.value.status, refused.value.field) == (status, field)
    with pytest.raises(GatewayError, match="401"):
        send_events(settings.gateway_url, [{"user_id": "u", "item_id": "a"}])
    assert recommend(settings.gateway_url, "u")["items"][0]["title"] == "Product a"
    with pytest.raises(GatewayError, match="recsys up"):
        recommend("http://127.0.0.1:1", "u")


def test_a_hundred_megabytes_are_not_taken(settings: Settings, gateway: Any) -> None:
    def streamed() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * (1 << 20)

    for content in (b"x" * (100 << 20), streamed()):
        try:
            answer = httpx.post(
                f"{settings.gateway_url}/recommend",
                content=content,
                headers={"content-type": "application/json"},
            )
            assert (answer.status_code, answer.json()["error"]["field"]) == (413, "body")
        except httpx.TransportError:  # the connection was closed while we still sent
            pass
    with socket.create_connection(
        (settings.gateway_host, settings.gateway_port), timeout=10
    ) as raw:
        raw.sendall(
            b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n"
        )  # declared, never sent
        assert raw.recv(64).startswith(b"HTTP/1.1 413 ")
    assert recommend(settings.gateway_url, "u")["items"]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /similar/../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /images/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 1e3\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_strange_requests_are_refused_and_the_process_lives(
    settings: Settings, gateway: subprocess.Popen[str], sent: bytes
) -> None:
    with socket.create_connection(
        (settings.gateway_host, settings.gateway_port), timeout=10
    ) as raw:
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while part := raw.recv(65_536):
                answer += part
        except ConnectionResetError:
            pass
    assert (
        (not answer or answer.split()[1].startswith(b"4"))
        and b"Traceback" not in answer
        and b"root:" not in answer
    )
    assert (
        gateway.poll() is None and httpx.get(f"{settings.gateway_url}/healthz").status_code == 200
    )


@pytest.mark.parametrize(
    ("trusted", "another_client"),
    [("127.0.0.1", True), ("10.0.0.0/8,127.0.0.0/8", True), ("10.0.0.0/8", False)],
)
def test_the_rate_limit_counts_the_clients_of_a_trusted_proxy(
    settings: Settings, trusted: str, another_client: bool
) -> None:
    """The header of another client is ignored: it could name a new address each time."""
    limited = settings.model_copy(
        update={
            "gateway_port": free_port(),
            "rate_limit": 0.001,  # a burst of one, and then no more for long
            "trusted_proxies": trusted,
        }
    )

    def ask(client: str) -> int:
        headers = {"x-forwarded-for": f"6.6.6.6, {client}"}
        return httpx.get(f"{limited.gateway_url}/popular", headers=headers).status_code

    with running(limited):
        first = ask("203.0.113.1")
        assert first != 429
        assert ask("203.0.113.2") == (first if another_client else 429)
        assert ask("203.0.113.1") == 429


@contextmanager
def next_version(settings: Settings, first_line: str) -> Iterator[Replica]:
    """Put the next version of the model in its place; its start begins with a line of its own."""
    model = settings.model_repository / "fused_model"
    new = model / str(RELEASE + 1)
    shutil.copytree(model / str(RELEASE), new)
    begin = "def initialize(self, args):\n"
    code = (new / "model.py").read_text()
    assert begin in code
    (new / "model.py").write_text(code.replace(begin, f"{begin}        {first_line}\n"))
    replica = Replica(settings.triton_grpc[0], grpc_headers(settings))
    try:
        yield replica
    finally:
        shutil.rmtree(new)
        replica.load("fused_model")
        replica.close()


def readiness(settings: Settings) -> tuple[int, int]:
    """Return what a load balancer is told by the gateway and by Triton."""
    triton = f"http://{settings.triton_host}:{settings.triton_http_port}/v2/health/ready"
    gateway = httpx.get(f"{settings.gateway_url}/readyz").status_code
    return gateway, httpx.get(triton).status_code


def test_a_gateway_stays_ready_while_a_new_version_loads(settings: Settings, gateway: Any) -> None:
    """A promotion loads for seconds, and a balancer would take all gateways out meanwhile."""
    with next_version(settings, "time.sleep(4)") as replica, ThreadPoolExecutor(1) as pool:
        loading = pool.submit(replica.load, "fused_model")
        seen = []
        while not loading.done():
            seen.append(readiness(settings))
            time.sleep(0.2)
        loading.result()
        assert len(seen) > 5
        assert set(seen) == {(200, 200)}
        assert replica.serves("fused_model", RELEASE + 1)


def test_a_version_that_fails_to_load_takes_nothing_out_of_service(
    settings: Settings, gateway: Any
) -> None:
    with next_version(settings, "raise ValueError('no such column')") as replica:
        with pytest.raises(ReplicaError, match="no such column"):
            replica.load("fused_model")
        assert readiness(settings) == (200, 200)
        answer = recommend(settings.gateway_url, "u")
        assert (answer["release"]["ranker"], answer["degraded"]) == (RELEASE, False)


def test_the_log_is_json_and_names_no_visitor(settings: Settings, gateway: Any) -> None:
    answer = httpx.post(
        f"{settings.gateway_url}/recommend",
        json={"user_id": "bits:3"},
        headers={"x-request-id": "find-me"},
    )
    assert answer.status_code == 200
    for _ in range(200):
        lines = [json.loads(line) for line in log_of(settings).read_text().splitlines()]
        found = [line for line in lines if line.get("request_id") == "find-me"]
        if found:
            break
        time.sleep(0.05)
    assert (
        found[0]["release"] == {"query": 2, "ranker": 3}
        and found[0]["route"] == "/recommend"
        and found[0]["status"] == 200
    )
    assert found[0]["degraded"] == ["user_features_unavailable", "seen_filter_unavailable"]
    assert "bits" not in log_of(settings).read_text()


def test_sigterm_finishes_what_is_in_flight(settings: Settings, valkey: Any) -> None:
    port = settings_for(settings.home).gateway_port
    other = settings.model_copy(update={"gateway_port": port})
    answers: list[int] = []

    def ask() -> None:
        answers.append(
            httpx.post(
                f"{other.gateway_url}/recommend", json={"user_id": "slow:300"}, timeout=30
            ).status_code
        )

    with running(other) as process:
        callers = [threading.Thread(target=ask) for _ in range(8)]
        for caller in callers:
            caller.start()
        for _ in range(400):  # until all of them are inside
            metrics = httpx.get(f"{other.gateway_url}/metrics").text
            values = dict(
                line.split()
                for line in metrics.splitlines()
                if line.startswith(("gateway_in_flight ", "gateway_waiting "))
            )
            if (
                float(values["gateway_in_flight"]) + float(values["gateway_waiting"]) + len(answers)
                >= 8
            ):
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.join()
        assert answers == [200] * 8
        assert process.wait(timeout=60) in (0, -signal.SIGTERM)
    assert not [
        line
        for line in log_of(other).read_text().splitlines()
        if json.loads(line)["level"] == "error"
    ]


def test_answers_are_logged_beside_a_ranking_and_at_the_end(
    settings: Settings, valkey: Any
) -> None:
    other = settings.model_copy(
        update={"gateway_port": settings_for(settings.home).gateway_port, "served_log": "on"}
    )
    with running(other) as process:
        for n in range(5):
            recommend(other.gateway_url, f"u{n}", top_k=2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) in (0, -signal.SIGTERM)
    entries = valkey.client(1).xrange(SERVED.name)
    logged = [answer for _, fields in entries for answer in SERVED.unpack(fields)]
    assert [answer.user_id for answer in logged] == [f"u{n}" for n in range(5)]
    assert {(*answer.item_ids, answer.query_release, answer.release) for answer in logged} == {
        ("a", "b", 2, 3)
    }
    assert logged[0].scores == [1.0, 0.5] and logged[0].reasons == []
    assert logged[0].propensities == [0.25, 0.25]


def test_who_keeps_a_connection_is_told_before_it_ends(settings: Settings, valkey: Any) -> None:
    """A request that is on its way when the gateway is told to end is answered, and the connection
    is not used again.
    """
    other = settings.model_copy(update={"gateway_port": settings_for(settings.home).gateway_port})
    with (
        running(other) as process,
        httpx.Client(base_url=other.gateway_url, timeout=30) as asking,
        httpx.Client(base_url=other.gateway_url, timeout=30) as watching,
    ):
        assert (
            "connection" not in asking.get("/healthz").headers
            and watching.get("/readyz").json()["ready"]
        )
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while (
            "connection" not in (answer := asking.post("/recommend", json={"user_id": "u"})).headers
        ):
            assert answer.status_code == 200 and time.monotonic() < deadline
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        unready = watching.get("/readyz")
        assert (unready.status_code, unready.json()["ready"], unready.headers["connection"]) == (
            503,
            False,
            "close",
        )
        assert process.wait(timeout=60) in (0, -signal.SIGTERM)
    assert not [
        line
        for line in log_of(other).read_text().splitlines()
        if json.loads(line)["level"] == "error"
    ]
