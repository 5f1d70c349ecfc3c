"""Serve a shop, let visitors ask and click, ingest the day, and compare; see ``skew``."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import redis

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness.part import BenchFailed, main
from recsys_assets.bench.loop.moved_shop import move_clock
from recsys_assets.lib.release.rung import FULL
from recsys_assets.operations import own_home
from recsys_assets.operations.full_graph import materialize
from recsys_assets.operations.jobs import PipelineFailed, accepting, run_jobs
from recsys_assets.serving.events.events import STREAM as EVENTS
from recsys_assets.serving.events.served_log import SERVED
from recsys_assets.settings import VISITOR_DATABASE, Settings, get_settings

TOP_K = 10
#: Of the items of an answer, the share that is clicked.
CLICKED = 0.2
#: Seconds between two answers to a visitor, so that clicks are of earlier seconds than the next
#: answer; and until the log has landed.
PAUSE, LIMIT = 1.1, 60.0


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Do what ``skew.measure`` says."""
    from recsys_assets.lib.release import releases

    settings, today = get_settings(), str(request["today"])
    with ExitStack() as stack:
        stack.enter_context(own_home.running(settings, ["valkey"]))
        try:
            materialize(settings, partitions.history_days(settings)[-1])
        except PipelineFailed as failed:
            raise BenchFailed(f"the first release was not built: {failed}") from failed
        stack.enter_context(own_home.running(settings, ["triton", "gateway"]))
        store = ArtifactStore(settings.artifacts)
        # whatever its gate says: the ranker is what reads the features
        release = max(releases.list_releases(store), key=lambda one: one.rung["name"] == FULL)
        own_home.promote(settings, release.number)
        with own_home.running(settings, ["consumer"]):
            given = _visits(settings, int(request["visitors"]), int(request["rounds"]))
            time.sleep(2 * PAUSE)  # the gateway writes its queue every second
            _wait(settings, _none_waits, "the log of answers did not land")
    zone = ZoneInfo(partitions.time_zone(settings))
    move_clock(datetime.fromisoformat(today).replace(tzinfo=zone) + timedelta(days=1, hours=1))
    run_jobs(settings, [("daily_ingest", today), ("monitor", today)], config=accepting([today]))
    found = store.current("monitor/skew", today).metrics
    return {
        "answers": given,
        "compared": found["answers"],
        "not_compared": given - found["answers"],
        "rows": found["rows"],
        "skewed": len(found["skewed"]),
        "shares": {name: share for name, share in found["shares"].items() if share},
        "rung": release.rung["name"],
    }


def _visits(settings: Settings, visitors: int, rounds: int) -> int:
    """Let visitors ask in turns, and click some of what they get; return the number of answers."""
    from recsys_assets.serving.gateway.client import GatewayClient

    rng = np.random.default_rng(settings.seed)
    given = 0
    token = settings.token.get_secret_value() if settings.token else None
    with GatewayClient(settings.gateway_url, token) as gateway:
        for _ in range(rounds):
            for number in range(1, visitors + 1):
                answer = gateway.recommend(str(number), top_k=TOP_K, device_type="mobile")
                given += 1
                clicked = rng.random(len(answer.items)) < CLICKED
                # a clicked item has its row at the click: at least one is left for the answer
                clicked[-1] = False
                events = [
                    {
                        "user_id": str(number),
                        "item_id": item.item_id,
                        "event_type": "View",
                        "device_type": "mobile",
                        "request_id": answer.request_id,
                    }
                    for item, yes in zip(answer.items, clicked, strict=True)
                    if yes
                ]
                if events:
                    gateway.send_events(events)
            _wait(settings, _all_read, "the consumer did not read the events")
            time.sleep(PAUSE)
    return given


def _all_read(client: redis.Redis) -> bool:
    """Return whether the consumer has read every event; at its start it takes some seconds."""
    groups = client.xinfo_groups(EVENTS)
    return bool(groups) and all(one["lag"] == 0 for one in groups)  # type: ignore[union-attr]


def _none_waits(client: redis.Redis) -> bool:
    """Return whether every answer has landed."""
    return not client.xlen(SERVED.name)


def _wait(settings: Settings, done: Callable[[redis.Redis], bool], otherwise: str) -> None:
    end = time.monotonic() + LIMIT
    with redis.Redis.from_url(settings.valkey_url(VISITOR_DATABASE)) as client:
        while not done(client):
            if time.monotonic() > end:
                raise BenchFailed(f"{otherwise} within {LIMIT:.0f} s")
            time.sleep(0.05)


if __name__ == "__main__":
    main(body)
