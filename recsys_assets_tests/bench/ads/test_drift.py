"""Test the figures of the stream monitors on few short streams."""

from __future__ import annotations

import math

import numpy as np

from recsys_assets.bench.ads.click_stream import LabelledScores
from recsys_assets.bench.ads.drift import MonitorFigures, StreamOutcome, measure_drift, watch
from recsys_assets.lib.monitor.below import AucBelow


def test_the_rolling_auc_finds_each_change_in_time() -> None:
    said: list[str] = []
    found = measure_drift(said.append, seeds=range(10), steady=4_000, changed=1_500)
    assert found.met and found.rolling_auc.streams == 10
    assert found.rolling_auc.false_alarms == 0 and found.rolling_auc.found_in_time == 1
    assert 100 < found.rolling_auc.delay_p50 <= found.rolling_auc.delay_p95 <= 500
    assert found.log_loss.false_alarms == 0 and found.log_loss.streams == 10
    assert abs(found.auc_before - 0.75) < 0.01 and abs(found.auc_after - 0.55) < 0.03
    assert 0.60 < found.threshold < 0.63
    assert said == [
        "10 streams: rolling AUC: 0 with a false alarm, 10 found in time; log loss: 0 with a "
        f"false alarm, {round(10 * found.log_loss.found_in_time)} found in time"
    ]


def test_a_false_alarm_resets_the_monitor() -> None:
    wrong = LabelledScores(np.tile([0.1, 0.9], 30), np.tile([1, 0], 30))
    right = LabelledScores(wrong.scores, 1 - wrong.labels)
    monitor = AucBelow(0.5, cool_down=1_000, window=10, minimum=4)
    assert watch(monitor, wrong, right) == StreamOutcome(false_alarms=15, delay=None)
    monitor = AucBelow(0.5, cool_down=1_000, window=10, minimum=4)
    found = watch(monitor, right, wrong)
    assert found.false_alarms == 0 and found.delay is not None and found.delay <= 10


def test_a_stream_without_an_alarm_counts_as_an_infinite_delay() -> None:
    outcomes = [StreamOutcome(0, 100)] * 94 + [StreamOutcome(1, 501)] + [StreamOutcome(2, None)] * 5
    found = MonitorFigures.of("one", outcomes)
    assert (found.streams, found.false_alarms, found.found_in_time) == (100, 0.06, 0.94)
    assert found.delay_p50 == 100 and math.isinf(found.delay_p95)
    assert MonitorFigures.of("one", outcomes[:95]).delay_p95 == 100
