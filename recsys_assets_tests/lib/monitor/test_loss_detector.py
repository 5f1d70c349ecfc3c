"""Test the loss detector against river's ADWIN, and over restarts."""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode

import numpy as np
import pytest
from river.drift import ADWIN

from recsys_assets.lib.monitor.loss_detector import CLIPPED, STEPS, LossDetector, scaled_loss

Rows = list[tuple[float, int]]


def drawn(rows: int, seed: int, rate: float = 0.25, says: float | None = None) -> Rows:
    """Return predictions of a rate, and the labels of another one."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < rate).astype(int).tolist()
    return [(rate if says is None else says, label) for label in labels]


def alarms(monitor: LossDetector, rows: Rows) -> list[int]:
    return [found.prediction for row in rows if (found := monitor.update(*row))]


def test_the_loss_is_clipped_and_scaled() -> None:
    assert scaled_loss(1, 0) == scaled_loss(0.96, 0) == 1
    assert scaled_loss(0, 0) == pytest.approx(math.log(1 - CLIPPED) / math.log(CLIPPED))
    assert scaled_loss(0.3, 1) == pytest.approx(math.log(0.3) / math.log(CLIPPED))
    assert scaled_loss(0.3, 0) == pytest.approx(math.log(0.7) / math.log(CLIPPED))


def test_a_rise_is_found_where_river_finds_it() -> None:
    rows = drawn(3_000, 1) + drawn(2_000, 2, rate=0.6, says=0.25)
    detector, adwin, expected = LossDetector(), ADWIN(delta=0.002), None
    for number, row in enumerate(rows, 1):
        found = detector.update(*row)
        adwin.update(round(STEPS * scaled_loss(*row)) / STEPS)
        if adwin.drift_detected:
            expected = number
            break
        assert found is None and detector.value == adwin.estimation
    assert expected is not None and 3_000 < expected < 3_500
    assert found is not None and found.prediction == expected and found.value == adwin.estimation
    assert found.value > found.reference and found.monitor == "log loss"
    assert detector.value is None


def test_a_fall_of_the_loss_is_no_alarm() -> None:
    better = drawn(3_000, 1, rate=0.6, says=0.25) + drawn(3_000, 2)
    detector = LossDetector()
    assert alarms(detector, better) == []
    # ADWIN has cut its window all the same, and later compares with the better loss
    assert detector.value == pytest.approx(
        np.mean([scaled_loss(*row) for row in drawn(3_000, 2)]), abs=0.02
    )
    assert alarms(detector, drawn(2_000, 3, rate=0.6, says=0.25)) != []


@pytest.mark.parametrize("seed", range(3))
def test_an_unchanged_stream_has_no_alarm(seed: int) -> None:
    assert alarms(LossDetector(), drawn(20_000, seed)) == []


def test_a_rise_within_the_cool_down_is_silent() -> None:
    rows = drawn(3_000, 1) + drawn(1_000, 2, rate=0.6, says=0.25)
    worse = drawn(2_000, 3, rate=0.99, says=0.25)
    found = alarms(LossDetector(cool_down=5_000), rows + worse)
    assert len(found) == 1 and 3_000 < found[0] < 4_000
    assert len(alarms(LossDetector(cool_down=100), rows + worse)) == 2


def test_a_reset_begins_again() -> None:
    detector = LossDetector()
    assert alarms(detector, drawn(3_000, 1) + drawn(1_000, 2, rate=0.6, says=0.25))
    detector.reset()
    assert detector.state() == LossDetector().state() and detector.value is None
    # the level before the reset is forgotten
    assert alarms(detector, drawn(3_000, 2, rate=0.6, says=0.25)) == []


@pytest.mark.parametrize("memory", [1_000, 50_000])
def test_a_restart_at_any_prediction_changes_nothing(memory: int) -> None:
    rows = drawn(3_300, 4) + drawn(900, 5, 0.6, 0.25) + drawn(1_500, 6) + drawn(900, 7, 0.7, 0.25)
    whole = LossDetector(cool_down=200, memory=memory)
    again = LossDetector(cool_down=200, memory=memory)
    found = 0
    for number, row in enumerate(rows):
        if number % 97 == 0:
            again = LossDetector.of(json.loads(json.dumps(again.state())))
        one = whole.update(*row)
        assert again.update(*row) == one and again.value == whole.value
        found += one is not None
    assert found == 2 and again.state() == whole.state()


def test_the_state_is_bounded() -> None:
    detector = LossDetector(memory=1_000)
    sizes = set()
    for row in drawn(3_000, 8):
        detector.update(*row)
        sizes.add(len(b64decode(detector.state()["losses"])))
    assert max(sizes) == 1_000 and len(b64decode(detector.state()["losses"])) > 500


def test_wrong_input_is_refused_by_name_and_counts_nothing() -> None:
    detector = LossDetector()
    with pytest.raises(
        ValueError, match=r"score must be a probability from 0 to 1, got 1\.5; give"
    ):
        detector.update(1.5, 1)
    with pytest.raises(ValueError, match="score must be a finite number"):
        detector.update(float("nan"), 1)
    with pytest.raises(ValueError, match="label must be 0 or 1"):
        detector.update(0.5, 2)
    assert detector.state() == LossDetector().state()
    with pytest.raises(ValueError, match="delta must be a probability between 0 and 1"):
        LossDetector(delta=0)
    with pytest.raises(ValueError, match="memory must be a whole number of at least 1000"):
        LossDetector(memory=10)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"losses": "many losses"}, "losses must be bytes in base64"),
        ({"losses": [1, 2]}, "losses must be bytes in base64"),
        ({"losses": b64encode(bytes(1_001)).decode()}, "losses must be at most memory"),
        ({"left": 9_999_999}, "left must be at most cool_down"),
        ({"other": 1}, "fields"),
    ],
)
def test_a_wrong_state_is_refused(changed: dict[str, object], said: str) -> None:
    state = LossDetector(memory=1_000).state()
    with pytest.raises(ValueError, match=said):
        LossDetector.of({**state, **changed})
