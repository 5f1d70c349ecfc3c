"""More than can be ranked: some are turned away at once with 429, all others get full answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from recsys_assets.operations.local_parts import http_ok
from recsys_assets.settings import PROJECT_ROOT
from recsys_assets_tests.conftest import free_port
from recsys_assets_tests.support.stack import WANTED, Stack, eventually

pytestmark = pytest.mark.services
#: One is ranked and one waits, then an expected wait of 5 ms is already too long.
PLACES, SHED_AFTER_MS, BURST = 1, 2, 24


@contextmanager
def second_gateway(stack: Stack, log: Path, **changes: Any) -> Iterator[httpx.Client]:
    """A client of another gateway process of the same home, with other limits."""
    settings = stack.settings.model_copy(update={"gateway_port": free_port(), **changes})
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "recsys_assets.serving.gateway"],
            cwd=PROJECT_ROOT,
            stdout=output,
            stderr=output,
            env={**os.environ, **settings.environment()},
        )
    try:
        eventually(lambda: http_ok(f"{settings.gateway_url}/healthz"), "the second gateway serves")
        with httpx.Client(base_url=settings.gateway_url, timeout=60) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def narrow(stack: Stack, tmp_path: Path) -> Iterator[httpx.Client]:
    """One with hardly any room."""
    with second_gateway(
        stack, tmp_path / "gateway.log", gateway_in_flight=PLACES, shed_after_ms=SHED_AFTER_MS
    ) as client:
        yield client


def test_those_beyond_the_queue_are_turned_away_and_the_others_answered(
    stack: Stack, narrow: httpx.Client
) -> None:
    def ask(number: int) -> httpx.Response:
        return narrow.post("/recommend", json={"user_id": f"user-{number % 6}", "top_k": WANTED})

    with ThreadPoolExecutor(BURST) as pool:
        with stack.stopped(
            *stack.stubs()
        ):  # nothing is ranked while they come, so how many find room is no chance
            asked = [pool.submit(ask, number) for number in range(BURST)]
            eventually(
                lambda: sum(one.done() for one in asked) == BURST - PLACES - 1,
                "all but those with a place are answered",
            )
            for one in asked:
                if one.done():
                    refused = one.result()
                    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
                    assert (
                        set(refused.json()) == {"error"}
                        and "try again" in refused.json()["error"]["message"]
                    )
            assert (
                narrow.get("/healthz").status_code == narrow.get("/metrics").status_code == 200
            )  # who watches still sees it
            assert narrow.get("/popular").status_code == 200
        answered = [one.result() for one in asked if one.result().status_code == 200]
    assert len(answered) == PLACES + 1
    assert all(
        len({item["item_id"] for item in answer.json()["items"]}) == WANTED for answer in answered
    )
    shed = [
        line
        for line in narrow.get("/metrics").text.splitlines()
        if line.startswith('gateway_shed_total{cause="overload"}')
    ]
    assert float(shed[0].rsplit(" ", 1)[1]) == BURST - PLACES - 1


def test_under_more_than_it_can_serve_there_is_nothing_but_full_answers_and_429(
    narrow: httpx.Client,
) -> None:
    def client(number: int) -> list[httpx.Response]:
        return [
            narrow.post("/recommend", json={"user_id": f"user-{number % 6}", "top_k": WANTED})
            for _ in range(15)
        ]

    with ThreadPoolExecutor(12) as pool:
        answers = [answer for found in pool.map(client, range(12)) for answer in found]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(
        len(answer.json()["items"]) == WANTED and answer.json()["release"]
        for answer in answers
        if answer.status_code == 200
    )
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 429)
    assert eventually(
        lambda: narrow.post("/recommend", json={"user_id": "user-1"}).status_code == 200,
        "room again",
    )


def test_one_client_s_rate_is_limited_and_the_watchers_are_not(
    stack: Stack, tmp_path: Path
) -> None:
    with second_gateway(stack, tmp_path / "gateway.log", rate_limit=0.5) as client:
        answers = [client.post("/recommend", json={"user_id": "u"}) for _ in range(6)]
        assert answers[0].status_code == 200 and 429 in {answer.status_code for answer in answers}
        assert all(
            int(answer.headers["retry-after"]) >= 1
            for answer in answers
            if answer.status_code == 429
        )
        assert all(client.get("/healthz").status_code == 200 for _ in range(10))
