"""Test that a step whose pod is refused fails, and with which words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlparse

import kubernetes
import pytest
from dagster._core.executor.step_delegating import CheckStepHealthResult

from recsys_assets.orchestration.step_pods import PATIENCE, RefusalsSeen, refusal
from recsys_assets_tests.support.json_server import json_server

QUOTA = 'pods "dagster-step-1-" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=9'


class Api:
    """A job, its events, and the clients that ask for them over HTTP."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {}
        self.age = PATIENCE + timedelta(seconds=5)
        self.messages = ["an older one", QUOTA]
        self.asked: list[str] = []

    def connect(self, address: str) -> None:
        configuration = kubernetes.client.Configuration()
        configuration.host, configuration.proxy = address, None
        client = kubernetes.client.ApiClient(configuration)
        self.batch = kubernetes.client.BatchV1Api(client)
        self.core = kubernetes.client.CoreV1Api(client)

    def answer(self, path: str) -> dict[str, Any]:
        if path.startswith("/apis/batch/v1/namespaces/shop/jobs/dagster-step-1"):
            made = datetime.now(timezone.utc) - self.age
            metadata = {"name": "dagster-step-1", "creationTimestamp": made.isoformat()}
            return {"metadata": metadata, "status": self.status}
        assert urlparse(path).path == "/api/v1/namespaces/shop/events"
        self.asked += parse_qs(urlparse(path).query)["fieldSelector"]
        involved = {"kind": "Job", "name": "dagster-step-1", "namespace": "shop"}
        return {
            "items": [
                {"metadata": {"name": str(n)}, "involvedObject": involved, "message": message}
                for n, message in enumerate(self.messages)
            ]
        }


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    with json_server(lambda path: (200, made.answer(path))) as address:
        made.connect(address)
        yield made


def test_a_refused_pod_is_told_in_the_words_of_kubernetes(api: Api) -> None:
    assert refusal(api.batch, api.core, "shop", "dagster-step-1") == QUOTA
    assert api.asked == [
        "involvedObject.kind=Job,involvedObject.name=dagster-step-1,reason=FailedCreate"
    ]


@pytest.mark.parametrize("status", [{"active": 1}, {"succeeded": 1}, {"failed": 1}])
def test_a_pod_that_exists_is_not_refused(api: Api, status: dict[str, int]) -> None:
    api.status = status
    assert refusal(api.batch, api.core, "shop", "dagster-step-1") is None
    assert api.asked == []


def test_a_new_job_is_given_time(api: Api) -> None:
    api.age = PATIENCE - timedelta(seconds=20)
    assert refusal(api.batch, api.core, "shop", "dagster-step-1") is None
    api.age, api.messages = PATIENCE + timedelta(seconds=5), []
    assert refusal(api.batch, api.core, "shop", "dagster-step-1") is None


def test_the_health_of_a_step_is_that_of_the_other_handler_unless_its_pod_is_refused(
    api: Api,
) -> None:
    inner = SimpleNamespace(
        name="inner",
        health=CheckStepHealthResult.healthy(),
        check_step_health=lambda context: inner.health,
        launch_step=lambda context: iter(["launched"]),
        terminate_step=lambda context: iter(["ended"]),
        _api_client=SimpleNamespace(batch_api=api.batch, core_api=api.core),
        _get_container_context=lambda context: SimpleNamespace(namespace="shop"),
        _get_k8s_step_job_name=lambda context: "dagster-step-1",
    )
    handler = RefusalsSeen(inner)
    context: Any = None
    assert handler.name == "inner"
    assert [*handler.launch_step(context), *handler.terminate_step(context)] == [
        "launched",
        "ended",
    ]
    health = handler.check_step_health(context)
    assert not health.is_healthy
    assert QUOTA in (health.unhealthy_reason or "")
    assert "RECSYS_K8S_PROFILES" in (health.unhealthy_reason or "")
    api.status = {"active": 1}
    assert handler.check_step_health(context).is_healthy
    api.status, inner.health = {}, CheckStepHealthResult.unhealthy("gone")
    assert handler.check_step_health(context).unhealthy_reason == "gone"
