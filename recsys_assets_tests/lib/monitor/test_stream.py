"""Test what the monitors of a stream share."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.lib.monitor.stream import (
    CoolDown,
    StreamAlarm,
    binary,
    fields,
    finite,
    sequence,
    whole,
)


def test_a_cool_down_is_silent_for_its_length() -> None:
    cool_down = CoolDown(3)
    assert not cool_down.silent()
    cool_down.begin()
    assert [cool_down.silent() for _ in range(4)] == [True, True, True, False]
    cool_down.begin()
    cool_down.end()
    assert not cool_down.silent()


@pytest.mark.parametrize(
    ("length", "left", "named"), [(0, 0, "cool_down"), (2, -1, "left"), (2, 3, "left")]
)
def test_a_wrong_cool_down_is_refused(length: int, left: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        CoolDown(length, left)


def test_numbers_of_numpy_become_those_of_json() -> None:
    assert type(finite("score", np.float32(0.5))) is float
    assert type(binary(np.int8(1))) is int and binary(True) == 1 and binary(0.0) == 0


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None, "high"])
def test_a_score_that_is_not_finite_is_refused_by_name(score: object) -> None:
    with pytest.raises(ValueError, match="score must be a finite number"):
        finite("score", score)


@pytest.mark.parametrize("label", [2, -1, 0.5, float("nan"), None, "1"])
def test_a_label_that_is_neither_0_nor_1_is_refused(label: object) -> None:
    with pytest.raises(ValueError, match="label must be 0 or 1"):
        binary(label)


@pytest.mark.parametrize("value", [1, 2.5, True, "3"])
def test_a_size_must_be_a_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match="window must be a whole number of at least 2"):
        whole("window", value, 2)


@pytest.mark.parametrize("state", [{"a": 1}, {"a": 1, "b": 2, "c": 3}, None, [1]])
def test_a_state_of_other_fields_is_refused_with_the_remedy(state: object) -> None:
    with pytest.raises(ValueError, match="begin with a new monitor"):
        fields(state, frozenset("ab"), "Monitor")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scores must be a list"):
        sequence("scores", "0.5")


def test_an_alarm_says_what_was_found() -> None:
    alarm = StreamAlarm("rolling AUC", 12_345, 0.601, 0.62)
    assert str(alarm) == "rolling AUC: 0.6010 beside 0.6200 at labelled prediction 12,345"
