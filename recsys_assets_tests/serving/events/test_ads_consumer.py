"""Predictions and labels on a real Valkey: landed by the prediction's day, and never lost."""

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

from recsys_assets.ads_columns import CATEGORIES, INTEGERS
from recsys_assets.lib.ads_ctr.feedback import read_feedback
from recsys_assets.lib.landing.ads_predictions import (
    LABELS_SCHEMA,
    PREDICTIONS_SCHEMA,
    prediction_id,
)
from recsys_assets.serving.events.ads_consumer import AdLabelConsumer, AdPredictionConsumer
from recsys_assets.serving.events.ads_log import LABELS, PREDICTIONS
from recsys_assets.serving.events.log_consumer import LogConsumer
from recsys_assets.serving.events.log_stream import LogStream, pack
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.support.small_shop import shop_settings
from recsys_assets_tests.support.stack import eventually

AT_MS = 1_774_736_999_250  # 2026-03-28 22:29:59 UTC, half an hour before midnight in Berlin


@pytest.fixture
def settings(tmp_path: Path, valkey: Any) -> Settings:
    return shop_settings(tmp_path, valkey)


def name_of(number: int) -> str:
    return prediction_id(AT_MS + 1_000 * number, "ab", number)


def prediction(number: int) -> dict[str, Any]:
    return {
        "prediction_id": name_of(number),
        "request_id": f"r{number}",
        "at": (AT_MS + 1_000 * number) / 1_000,
        "release": 3,
        "score": 0.25,
        "counts": [None, *range(number, number + 12)],
        "categories": [*(f"ü{number}" for _ in range(25)), None],
    }


def label(number: int, **changed: Any) -> dict[str, Any]:
    return {"prediction_id": name_of(number), "label": number % 2, **changed}


def write(
    valkey: Any, stream: LogStream[Any], records: list[dict[str, Any]], size: int = 3
) -> None:
    """Write records into a stream, some per entry."""
    with valkey.client(1) as client, client.pipeline(transaction=False) as pipeline:
        for n in range(0, len(records), size):
            pipeline.xadd(stream.name, {stream.field: pack(records[n : n + size])})
        pipeline.execute()


def landed(settings: Settings, folder: str) -> dict[str, pl.DataFrame]:
    """Day → rows of its files."""
    days: dict[str, list[pl.DataFrame]] = {}
    for file in sorted(Path(settings.landing).glob(f"{folder}/*/*.parquet")):
        days.setdefault(file.parent.name, []).append(pl.read_parquet(file))
    return {day: pl.concat(frames) for day, frames in days.items()}


def files(settings: Settings) -> dict[str, bytes]:
    root = Path(settings.landing)
    return {str(one.relative_to(root)): one.read_bytes() for one in root.rglob("*.parquet")}


def step(
    settings: Settings, kind: type[LogConsumer[Any]], name: str = "consumer-0"
) -> LogConsumer[Any]:
    one = kind(settings, name, threading.Event())
    one.recover()
    one.step()
    one.land()
    return one


def test_predictions_and_labels_land_in_the_day_of_the_prediction(
    settings: Settings, valkey: Any
) -> None:
    settings = settings.model_copy(update={"time_zone": "Europe/Berlin"})
    write(valkey, PREDICTIONS, [prediction(0), prediction(1_801)])
    began = time.time()
    write(valkey, LABELS, [label(0, at=AT_MS / 1_000 + 5.5), label(1_801)])
    step(settings, AdPredictionConsumer)
    step(settings, AdLabelConsumer)
    found = landed(settings, "ads_predictions")
    assert {day: rows["prediction_id"].to_list() for day, rows in found.items()} == {
        "2026-03-28": [name_of(0)],
        "2026-03-29": [name_of(1_801)],
    }
    rows = found["2026-03-29"]
    assert dict(rows.schema) == PREDICTIONS_SCHEMA
    given = prediction(1_801)
    assert rows.row(0, named=True) == {
        **{name: given[name] for name in ("prediction_id", "request_id", "at", "release", "score")},
        **dict(zip(INTEGERS, given["counts"], strict=True)),
        **dict(zip(CATEGORIES, given["categories"], strict=True)),
    }
    labels = landed(settings, "ads_labels")
    assert set(labels) == {"2026-03-28", "2026-03-29"}
    first, second = labels["2026-03-28"].row(0, named=True), labels["2026-03-29"]
    assert dict(second.schema) == LABELS_SCHEMA
    assert (first["prediction_id"], first["label"]) == (name_of(0), 0)
    assert first["at"] == AT_MS / 1_000 + 5.5
    assert began - 1 <= first["arrived"] <= time.time() + 1
    assert second["at"].to_list() == second["arrived"].to_list(), "no moment was given"
    with valkey.client(1) as client:
        for stream in (PREDICTIONS, LABELS):
            assert client.xlen(stream.name) == 0
            assert client.xpending(stream.name, stream.group)["pending"] == 0


def test_what_is_landed_is_joined(settings: Settings, valkey: Any) -> None:
    write(valkey, PREDICTIONS, [prediction(n) for n in range(4)])
    write(valkey, LABELS, [label(n) for n in range(3)])
    step(settings, AdPredictionConsumer)
    step(settings, AdLabelConsumer)
    now = time.time()
    found = read_feedback(settings.landing, "2026-03-28", now, now + 1)
    assert found.rows.sort("at")["label"].to_list() == [0, 1, 0] and found.waiting == 1


@pytest.mark.parametrize(
    ("kind", "stream", "record"),
    [(AdPredictionConsumer, PREDICTIONS, prediction), (AdLabelConsumer, LABELS, label)],
)
def test_a_crash_between_file_and_acknowledgement_rewrites_the_same_files(
    settings: Settings,
    valkey: Any,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[LogConsumer[Any]],
    stream: LogStream[Any],
    record: Callable[[int], dict[str, Any]],
) -> None:
    # of two days in UTC
    write(valkey, stream, [record(n * 1_800) for n in range(12)])
    crashed = kind(settings, "consumer-0", threading.Event())
    crashed.recover()
    crashed.step()
    monkeypatch.setattr(crashed, "_done", lambda ids: None)  # here it ends
    crashed.land()
    before = files(settings)
    assert len(before) == 2 and valkey.client(1).xpending(stream.name, stream.group)["pending"] == 4
    write(valkey, stream, [record(n * 1_800) for n in range(12, 15)])
    again = kind(settings, "consumer-0", threading.Event())
    again.recover()
    assert files(settings) == before
    again.step()
    again.land()
    rows = pl.concat(landed(settings, kind.folder).values())
    assert rows["prediction_id"].n_unique() == rows.height == 15
    assert valkey.client(1).xlen(stream.name) == 0


@pytest.mark.parametrize(
    ("kind", "stream", "good", "bad"),
    [
        (AdPredictionConsumer, PREDICTIONS, prediction(1), {**prediction(2), "counts": []}),
        (AdLabelConsumer, LABELS, label(1), label(2, label=7)),
    ],
)
def test_an_invalid_entry_is_set_aside(
    settings: Settings,
    valkey: Any,
    kind: type[LogConsumer[Any]],
    stream: LogStream[Any],
    good: dict[str, Any],
    bad: dict[str, Any],
) -> None:
    client = valkey.client(1)
    write(valkey, stream, [bad])
    client.xadd(stream.name, {"nothing": "of the kind"})
    write(valkey, stream, [good])
    step(settings, kind)
    assert pl.concat(landed(settings, kind.folder).values()).height == 1
    assert client.xlen(f"{stream.name}:rejected") == 2 and client.xlen(stream.name) == 0


def test_switched_off_it_lands_what_is_left_and_ends(settings: Settings, valkey: Any) -> None:
    off = settings.model_copy(update={"ads_log": "off"})
    AdPredictionConsumer(off, "consumer-0", threading.Event()).run()
    assert not valkey.client(1).exists(PREDICTIONS.name), "off writes nothing"
    write(valkey, PREDICTIONS, [prediction(n) for n in range(5)])
    AdPredictionConsumer(off, "consumer-0", threading.Event()).run()
    assert pl.concat(landed(off, "ads_predictions").values()).height == 5


@pytest.mark.services
def test_killed_in_the_middle_the_process_loses_nothing(settings: Settings, valkey: Any) -> None:
    """The event consumer's process as the launcher starts it, without Feast's definitions."""
    client, made = valkey.client(1), []
    log = settings.home / "consumer.log"

    def start() -> subprocess.Popen[bytes]:
        with open(log, "ab") as stream:
            made.append(
                subprocess.Popen(
                    [sys.executable, "-m", "recsys_assets.serving.events.consumer"],
                    cwd=PROJECT_ROOT,
                    env={**os.environ, **settings.environment()},
                    stdout=stream,
                    stderr=stream,
                )
            )
        return made[-1]

    try:
        write(valkey, PREDICTIONS, [prediction(n) for n in range(6_000)], 60)
        write(valkey, LABELS, [label(n) for n in range(6_000)], 60)
        first = start()
        eventually(lambda: "ads_predictions" in str(files(settings).keys()), "files land")
        write(valkey, LABELS, [label(n) for n in range(6_000, 6_900)], 60)
        time.sleep(0.3)
        first.kill()
        first.wait()
        write(valkey, PREDICTIONS, [prediction(n) for n in range(6_000, 6_900)], 60)
        second = start()
        eventually(
            lambda: all(client.xlen(stream.name) == 0 for stream in (PREDICTIONS, LABELS)),
            "everything is landed",
        )
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0, log.read_text()
    finally:
        for process in made:
            process.kill()
            process.wait()
    names = sorted(name_of(n) for n in range(6_900))
    for folder in ("ads_predictions", "ads_labels"):
        rows = pl.concat(landed(settings, folder).values())
        assert sorted(rows["prediction_id"]) == names, folder
    assert "Traceback" not in log.read_text()
