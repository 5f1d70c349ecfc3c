"""The log of answers on a real Valkey: landed by day, and neither lost nor doubled by a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys_assets.lib.landing.served_answers import SCHEMA
from recsys_assets.lib.quality.served_day import read_served_day
from recsys_assets.serving.events.log_consumer import LogLanding
from recsys_assets.serving.events.log_stream import pack
from recsys_assets.serving.events.served_consumer import ServedConsumer
from recsys_assets.serving.events.served_log import SERVED
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.support.small_shop import shop_settings
from recsys_assets_tests.support.stack import eventually

AT = 1_774_736_999  # 2026-03-28 22:29:59 UTC, half an hour before midnight in Berlin


@pytest.fixture
def settings(tmp_path: Path, valkey: Any) -> Settings:
    return shop_settings(tmp_path, valkey, served_log="on")


def write(valkey: Any, count: int, first: int = 0, at: int = AT, size: int = 3) -> None:
    """Write answers into the stream, some per entry."""
    answers = [
        {
            "answer_id": f"ab-{n:x}",
            "request_id": f"r{n}",
            "user_id": f"u{n % 7}",
            "at": at + n,
            "top_k": 2,
            "item_ids": ["a", "b"],
            "scores": [0.5, 0.25],
            "release": 3,
        }
        for n in range(first, first + count)
    ]
    with valkey.client(1) as client, client.pipeline(transaction=False) as pipeline:
        for n in range(0, count, size):
            pipeline.xadd(SERVED.name, {SERVED.field: pack(answers[n : n + size])})
        pipeline.execute()


def consumer(settings: Settings) -> ServedConsumer:
    return ServedConsumer(settings, "consumer-0", threading.Event())


def landed(settings: Settings) -> pl.DataFrame:
    files = sorted(Path(settings.landing).glob("served/*/*.parquet"))
    return pl.concat(
        [pl.read_parquet(file).with_columns(day=pl.lit(file.parent.name)) for file in files]
    )


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("UTC", {"2026-03-28": [0, 1]}),
        ("Europe/Berlin", {"2026-03-28": [0], "2026-03-29": [1]}),
        ("Asia/Tokyo", {"2026-03-29": [0, 1]}),
    ],
)
def test_an_answer_lands_in_the_day_of_the_zone(
    settings: Settings, valkey: Any, zone: str, days: dict[str, list[int]]
) -> None:
    settings = settings.model_copy(update={"time_zone": zone})
    write(valkey, 1)
    write(valkey, 1, first=1, at=AT + 1_800)
    one = consumer(settings)
    one.recover()
    one.step()
    one.land()
    rows = landed(settings)
    assert rows.drop("day").schema == SCHEMA
    assert {
        day: [int(one[1:]) for one in group["request_id"]] for (day,), group in rows.group_by("day")
    } == days
    for day in days:
        read = read_served_day(settings.landing, day, zone)
        assert read is not None and read.answers["item_ids"].to_list() == [["a", "b"]] * len(
            days[day]
        )
    with valkey.client(1) as client:
        assert (
            client.xlen(SERVED.name) == 0
            and client.xpending(SERVED.name, SERVED.group)["pending"] == 0
        )


def test_a_crash_between_file_and_acknowledgement_rewrites_the_same_file(
    settings: Settings, valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(valkey, 12)
    crashed = consumer(settings)
    crashed.recover()
    crashed.step()
    monkeypatch.setattr(crashed, "_done", lambda ids: None)  # here it ends
    crashed.land()
    before = {file: file.read_bytes() for file in Path(settings.landing).rglob("*.parquet")}
    assert before and valkey.client(1).xpending(SERVED.name, SERVED.group)["pending"] == 4
    write(valkey, 3, first=12)
    again = consumer(settings)
    again.recover()
    after = {file: file.read_bytes() for file in Path(settings.landing).rglob("*.parquet")}
    assert after == before
    again.step()
    again.land()
    assert landed(settings)["answer_id"].n_unique() == landed(settings).height == 15
    assert valkey.client(1).xlen(SERVED.name) == 0


def test_an_invalid_entry_is_set_aside(settings: Settings, valkey: Any) -> None:
    client = valkey.client(1)
    client.xadd(SERVED.name, {"nothing": "of the kind"})
    write(valkey, 3)
    one = consumer(settings)
    one.recover()
    one.step()
    one.land()
    assert landed(settings).height == 3
    assert client.xlen(SERVED.rejected) == 1 and client.xlen(SERVED.name) == 0


def test_switched_off_it_lands_what_is_left_and_ends(settings: Settings, valkey: Any) -> None:
    off = settings.model_copy(update={"served_log": "off"})
    consumer(off).run()
    assert not valkey.client(1).exists(SERVED.name), "off writes nothing"
    write(valkey, 5)
    consumer(off).run()
    assert landed(off).height == 5 and valkey.client(1).xlen(SERVED.name) == 0


def test_a_fault_stops_the_process(settings: Settings, valkey: Any) -> None:
    write(valkey, 3)
    Path(settings.landing).write_text("a file where the landing zone should be")
    stop = threading.Event()
    thread = LogLanding(ServedConsumer(settings, "consumer-0", stop), stop)
    thread.consumer._landed_at = -1e9  # a landing is due
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda fault: None)
        thread.start()
        thread.join(30)
    assert stop.is_set() and thread.failed
    assert valkey.client(1).xpending(SERVED.name, SERVED.group)["pending"] == 1, "not acknowledged"


@pytest.fixture
def start(settings: Settings) -> Any:
    """Start the event consumer's process, as the launcher does; without Feast's definitions."""
    made: list[subprocess.Popen[bytes]] = []

    def _start() -> subprocess.Popen[bytes]:
        with open(settings.home / "consumer.log", "ab") as log:
            made.append(
                subprocess.Popen(
                    [sys.executable, "-m", "recsys_assets.serving.events.consumer"],
                    cwd=PROJECT_ROOT,
                    env={**os.environ, **settings.environment()},
                    stdout=log,
                    stderr=log,
                )
            )
        return made[-1]

    yield _start
    for process in made:
        process.kill()
        process.wait()


@pytest.mark.services
def test_killed_in_the_middle_it_loses_nothing_and_doubles_nothing(
    settings: Settings, valkey: Any, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    client = valkey.client(1)
    write(valkey, 6_000)
    first = start()
    eventually(lambda: list(Path(settings.landing).glob("served/*/*.parquet")), "files land")
    write(valkey, 900, first=6_000)
    time.sleep(0.3)
    first.kill()
    first.wait()
    write(valkey, 100, first=6_900)
    second = start()
    eventually(
        lambda: client.xinfo_groups(SERVED.name)[0]["lag"] == 0, "the second process has read all"
    )
    valkey.kill()  # and the store goes away once
    time.sleep(0.5)
    valkey.start()
    write(valkey, 50, first=7_000)
    eventually(lambda: client.xlen(SERVED.name) == 0, "everything is landed")
    second.send_signal(signal.SIGTERM)
    log = settings.home / "consumer.log"
    assert second.wait(30) == 0, log.read_text()
    rows = landed(settings)
    assert sorted(rows["answer_id"]) == sorted(f"ab-{n:x}" for n in range(7_050))
    assert "Traceback" not in log.read_text()
