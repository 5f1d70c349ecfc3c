"""SIGTERM with work in hand: what was in flight is finished and nothing of it fails. And a start
while Valkey is away.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import polars as pl
import psutil
import pytest

from recsys_assets.serving.events.events import GROUP, STREAM
from recsys_assets.settings import VISITOR_DATABASE
from recsys_assets_tests.support.stack import RELEASE, Asked, Stack, eventually, faults
from recsys_assets_tests.support.tiny_payload import ITEM_IDS

pytestmark = pytest.mark.services
BURST = 6


def burst(stack: Stack, pool: ThreadPoolExecutor) -> list[Future[Asked]]:
    """Requests that hang in Triton, where its models stand still: all of them are in flight when
    this returns.
    """
    asked = [pool.submit(stack.ask, f"user-{n % 6}") for n in range(BURST)]
    eventually(lambda: stack.metric("gateway_in_flight") == BURST, "all requests are in flight")
    return asked


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_the_gateway_finishes_what_is_in_flight_and_starts_without_valkey(stack: Stack) -> None:
    with ThreadPoolExecutor(BURST) as pool:
        with stack.stopped(*stack.stubs()):
            asked = burst(stack, pool)
            process = stack.terminate("gateway")
            # it has stopped to listen: whoever comes now goes to another replica
            eventually(lambda: refuses(stack), "the gateway takes nothing new")
            assert not ended(process)
        found = [one.result() for one in asked]
    assert faults(found) == [] and not any(one.body["release"] is None for one in found)
    eventually(lambda: ended(process), "the gateway ends")
    assert "Traceback" not in stack.log("gateway")
    stack.kill("valkey")
    stack.up("gateway")
    without = stack.many(12)
    assert faults(without) == [] and all(one.body["degraded"] for one in without)
    assert stack.http.get("/readyz").json() == {
        "ready": True,
        "triton": True,
        "release": RELEASE,
        "rung": "full",
        "learnt_to": None,
        "valkey": False,
    }
    assert stack.http.get("/popular").json()["reasons"] == [
        "popularity_unavailable",
        "availability_unavailable",
    ]
    stack.up("valkey")
    stack.normal("user-1")
    eventually(
        lambda: stack.http.get("/popular").json()["reasons"] == [], "popular items are whole again"
    )


def refuses(stack: Stack) -> bool:
    return not any(
        connection.status == psutil.CONN_LISTEN
        for connection in stack.process("gateway").net_connections()
    )


def test_triton_finishes_what_is_in_flight_and_a_start_without_valkey_serves_degraded(
    stack: Stack,
) -> None:
    with ThreadPoolExecutor(BURST) as pool:
        with stack.stopped(*stack.stubs()):
            asked = burst(stack, pool)
            process = stack.terminate("triton")
            eventually(
                lambda: (
                    "waiting for" in stack.log("triton").lower()
                    or "in-flight" in stack.log("triton").lower()
                ),
                "Triton knows that it is to end",
            )
        found = [one.result() for one in asked]
    assert faults(found) == []
    # popular items would have stood in for a request that Triton dropped
    assert {one.body["release"] and one.body["release"]["ranker"] for one in found} == {RELEASE}
    eventually(lambda: ended(process), "Triton ends")
    stand_in = stack.ask("user-1")
    assert (
        stand_in.status == 200
        and stand_in.body["release"] is None
        and "ranking_unavailable" in stand_in.body["reasons"]
    )

    stack.kill("valkey")
    stack.up("triton")
    eventually(lambda: stack.ask("user-1").body["release"], "the gateway finds Triton again")
    without = stack.many(20)
    assert faults(without) == [] and all(one.body["degraded"] for one in without)
    reasons = {"user_features_unavailable", "seen_filter_unavailable", "availability_unavailable"}
    assert all(set(one.body["reasons"]) == reasons for one in without)
    stack.up("valkey")
    assert stack.normal("user-1").body["release"]["ranker"] == RELEASE
    stack.see("after-the-start", ITEM_IDS[:2])
    assert not set(stack.ids("after-the-start", top_k=38)) & set(ITEM_IDS[:2])


def test_the_consumer_finishes_what_it_read(stack: Stack) -> None:
    sent = []
    for n in range(6):
        answer = stack.http.post(
            "/events",
            json={
                "events": [
                    {
                        "user_id": f"leaver-{n}",
                        "item_id": ITEM_IDS[m % 40],
                        "event_id": f"leaving-{n}-{m}",
                    }
                    for m in range(100)
                ]
            },
        )
        assert answer.status_code == 202
        sent += answer.json()["event_ids"]
        if n == 2:
            process = stack.terminate("consumer")
    eventually(lambda: ended(process), "the consumer ends")
    assert "everything read is landed" in stack.log("consumer") and "Traceback" not in stack.log(
        "consumer"
    )
    stack.up("consumer")
    stack.applied(sent)
    with stack.valkey(VISITOR_DATABASE) as client:
        eventually(lambda: client.xpending(STREAM, GROUP)["pending"] == 0, "everything is landed")
    rows = pl.concat(
        [
            pl.read_parquet(file)
            for file in Path(stack.settings.landing).glob("interactions/*/*.parquet")
        ]
    )
    landed = rows.filter(pl.col("user_id").str.starts_with("leaver-"))["event_id"].to_list()
    assert sorted(landed) == sorted(sent)
