"""What the gateway does when too much is asked, or Triton does not answer: rate and shedding."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys_assets.operations.processes import read_record
from recsys_assets.serving.gateway.limits import FIRST_GUESS, Admission, Overloaded, RateLimit
from recsys_assets.serving.gateway.metrics import Metrics
from recsys_assets.settings import Settings
from recsys_assets_tests.support.answering_triton import answering, write_answering
from recsys_assets_tests.support.gateway_calls import error, serve
from recsys_assets_tests.support.silent_server import SilentServer
from recsys_assets_tests.support.small_shop import promote
from recsys_assets_tests.support.small_triton import settings_for

pytestmark = pytest.mark.services


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


# --- rate


def test_a_bucket_holds_twice_the_rate_and_fills_again() -> None:
    clock = Clock()
    rate = RateLimit(5, clock)
    assert [rate.take("a") for _ in range(10)] == [0.0] * 10
    assert rate.take("a") == pytest.approx(0.2) and rate.take("b") == 0.0
    clock.now += 0.2
    assert rate.take("a") == 0.0 and rate.take("a") > 0
    clock.now += 100
    assert [rate.take("a") for _ in range(11)] == [0.0] * 10 + [pytest.approx(0.2)]


def test_buckets_of_the_silent_are_forgotten_and_never_too_many() -> None:
    clock = Clock()
    rate = RateLimit(10, clock, clients=100)
    for number in range(1_000):
        rate.take(str(number))
    assert len(rate) == 100
    clock.now += 2  # full again: no need to remember
    rate.take("new")
    assert len(rate) == 1
    assert RateLimit(0, clock).take("anyone") == 0.0 and len(RateLimit(0, clock)) == 0


def test_too_many_requests_of_one_address(tmp_path: Path, valkey: Any) -> None:
    settings = settings_for(
        tmp_path, valkey_port=valkey.port, rate_limit=0.001
    )  # a burst of one, and then no more for long
    for client in serve(settings):
        assert client.get("/popular").status_code == 503
        answer = client.post("/events", json={})
        assert error(answer)[:2] == (429, None) and int(answer.headers["retry-after"]) >= 1
        assert {client.get(path).status_code for path in ("/healthz", "/metrics")} == {200}
        text = client.get("/metrics").text
        assert 'gateway_shed_total{cause="rate_limit"} 1.0' in text
        assert 'gateway_requests_total{route="/events",status="429"} 1.0' in text


# --- places for ranking calls


def test_places_are_given_first_come_first_served() -> None:
    async def walk() -> list[int]:
        admission, order = Admission(1, 1.0, Metrics()), []

        async def caller(number: int) -> None:
            async with admission.place():
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(caller(number) for number in range(5)))
        return order

    assert asyncio.run(walk()) == [0, 1, 2, 3, 4]


def test_who_would_wait_too_long_is_turned_away_before_the_queue_grows() -> None:
    async def walk() -> None:
        metrics = Metrics()
        admission = Admission(2, 10 * FIRST_GUESS, metrics)
        done = asyncio.Event()

        async def caller(visitors: int = 1) -> None:
            async with admission.place(visitors):
                await done.wait()

        calls = [asyncio.create_task(caller()) for _ in range(2)]
        await asyncio.sleep(0)
        assert admission.expected_wait == 0.0
        calls += [asyncio.create_task(caller(21))]  # 21 visitors before the next one, two at a time
        await asyncio.sleep(0)
        assert admission.expected_wait == pytest.approx(10.5 * FIRST_GUESS)
        with pytest.raises(Overloaded) as refused:
            await caller()
        assert (refused.value.status, refused.value.retry_after) == (429, 1)
        assert metrics.registry.get_sample_value("gateway_waiting") == 21
        done.set()
        await asyncio.gather(*calls)
        assert (
            admission.expected_wait == 0.0
            and metrics.registry.get_sample_value("gateway_in_flight") == 0
        )

    asyncio.run(walk())


def test_a_caller_that_goes_away_gives_its_place_on() -> None:
    async def walk() -> None:
        admission = Admission(1, 1.0, Metrics())
        holding = asyncio.Event()

        async def caller(until: asyncio.Event) -> None:
            async with admission.place():
                await until.wait()

        first = asyncio.create_task(caller(holding))
        await asyncio.sleep(0)
        gone, waiting = (
            asyncio.create_task(caller(asyncio.Event())),
            asyncio.create_task(caller(holding)),
        )
        await asyncio.sleep(0)
        gone.cancel()
        holding.set()
        await asyncio.gather(first, waiting)
        # cancelled in the very step in which it is given the place
        holding.clear()
        first = asyncio.create_task(caller(holding))
        await asyncio.sleep(0)
        gone = asyncio.create_task(caller(holding))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([first, gone])
        async with asyncio.timeout(10), admission.place():
            pass

    asyncio.run(walk())


def test_one_long_pause_is_not_overload() -> None:
    admission = Admission(1, 0.1, Metrics())
    for seconds in [0.003] * 60 + [0.4] * 8:  # a release loads meanwhile
        admission._measure(seconds)
    assert admission._typical == pytest.approx(0.003)
    for _ in range(64):
        admission._measure(0.4)
    assert admission._typical == pytest.approx(0.4)


# --- a Triton that hangs


def test_a_server_that_accepts_and_says_nothing(tmp_path: Path, valkey: Any) -> None:
    with SilentServer() as silent:
        settings = settings_for(
            tmp_path, valkey_port=valkey.port, triton_grpc_port=silent.port, triton_timeout_ms=100
        )
        promote(settings)
        for client in serve(settings):
            answers = [client.post("/recommend", json={"user_id": "u"}) for _ in range(20)]
            assert {(answer.status_code, answer.json()["reasons"][0]) for answer in answers} == {
                (200, "ranking_unavailable")
            }
            assert client.get("/healthz").status_code == 200


# --- a Triton that is slow


@pytest.fixture
def slow(tmp_path: Path, valkey: Any) -> Iterator[Settings]:
    settings = settings_for(
        tmp_path,
        valkey_port=valkey.port,
        gateway_in_flight=2,
        shed_after_ms=50,
        triton_timeout_ms=20_000,
    )
    write_answering(settings.model_repository, ["a", "b"], np.zeros(1, np.uint8))
    promote(settings)
    with answering(settings):
        yield settings


def test_more_than_can_be_served_is_turned_away_and_the_rest_is_served(slow: Settings) -> None:
    for client in serve(slow):
        ask = partial(client.post, "/recommend", json={"user_id": "slow:40"})
        for _ in range(16):  # so long do calls take
            ask()
        with ThreadPoolExecutor(24) as callers:
            answers = [call.result() for call in [callers.submit(ask) for _ in range(240)]]
        shed = [answer for answer in answers if answer.status_code == 429]
        served = [answer for answer in answers if answer.status_code == 200]
        assert len(shed) + len(served) == 240 and shed and served
        assert all(
            error(answer)[1] is None and int(answer.headers["retry-after"]) >= 1 for answer in shed
        )
        assert not any(answer.json()["degraded"] for answer in served)
        metrics = client.get("/metrics").text
        counted = [
            line
            for line in metrics.splitlines()
            if line.startswith(("gateway_shed_total", "gateway_requests_total"))
        ]
        assert f'gateway_shed_total{{cause="overload"}} {float(len(shed))}' in counted, counted
        assert "gateway_in_flight 0.0" in metrics and "gateway_waiting 0.0" in metrics
        assert ask().status_code == 200


def test_what_watches_over_the_gateway_is_answered_meanwhile(slow: Settings) -> None:
    for client in serve(slow):
        callers = [
            threading.Thread(
                target=client.post, args=("/recommend",), kwargs={"json": {"user_id": "slow:500"}}
            )
            for _ in range(4)
        ]
        for caller in callers:
            caller.start()
        for _ in range(2_000):
            if "gateway_in_flight 2.0" in client.get("/metrics").text:
                break
            time.sleep(0.005)
        else:
            raise AssertionError("the calls were never seen")
        assert client.get("/healthz").status_code == 200
        for caller in callers:
            caller.join()


def test_a_hanging_triton_is_not_waited_for_by_everyone(
    slow: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    record = read_record(slow.home / "run", "triton")
    assert record is not None
    for client in serve(slow.model_copy(update={"triton_timeout_ms": 150})):
        ranked = client.post("/recommend", json={"user_id": "u"}).json()
        assert not ranked["degraded"]
        os.kill(record.pid, signal.SIGSTOP)
        try:
            answers = [client.post("/recommend", json={"user_id": "u"}) for _ in range(40)]
        finally:
            os.kill(record.pid, signal.SIGCONT)
        assert {(answer.status_code, answer.json()["reasons"][0]) for answer in answers} == {
            (200, "ranking_unavailable")
        }
        said = [
            record.getMessage()
            for record in caplog.records
            if "answering with popular items" in record.getMessage()
        ]
        assert (
            all("DEADLINE_EXCEEDED" in line for line in said[:3])
            and "not asked" in said[3]
            and len(said) == 40
        )
        for _ in range(200):
            answer = client.post("/recommend", json={"user_id": "u"}).json()
            if not answer["degraded"]:
                break
            time.sleep(0.05)
        assert answer["items"] == ranked["items"]
