"""Test the alarm of the rolling AUC: one per episode, also over a restart."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pytest

from recsys_assets.lib.monitor.below import AucBelow
from recsys_assets.lib.monitor.rolling_auc import rolling_aucs
from recsys_assets.lib.monitor.stream import StreamMonitor

GOOD = [(0.9, 1), (0.1, 0)]
BAD = [(0.1, 1), (0.9, 0)]


def alarms(monitor: StreamMonitor, rows: Iterable[tuple[float, int]]) -> list[int]:
    """Return the predictions at which alarms came."""
    return [found.prediction for row in rows if (found := monitor.update(*row))]


def small() -> AucBelow:
    return AucBelow(0.5, cool_down=20, window=10, minimum=4)


def test_one_episode_gives_one_alarm() -> None:
    monitor = small()
    assert alarms(monitor, GOOD * 10) == []
    found = alarms(monitor, BAD * 5)
    assert len(found) == 1 and 20 < found[0] <= 30
    assert monitor.value == 0


def test_the_alarm_is_at_the_first_value_below() -> None:
    rng = np.random.default_rng(2)
    scores, labels = rng.random(3_000), rng.integers(0, 2, 3_000)
    expected = np.flatnonzero(rolling_aucs(scores, labels) < 0.45)[0]
    monitor = AucBelow(0.45)
    found = [one for row in zip(scores, labels, strict=True) if (one := monitor.update(*row))]
    assert found[0].prediction == expected + 1
    assert found[0].value < 0.45 == found[0].reference and found[0].monitor == "rolling AUC"


def test_an_auc_that_stays_below_is_a_new_episode_after_the_cool_down() -> None:
    assert alarms(small(), BAD * 30) == [4, 25, 46]


def test_an_auc_that_recovers_gives_no_second_alarm() -> None:
    assert alarms(small(), BAD * 3 + GOOD * 30) == [4]


def test_a_reset_ends_the_cool_down_and_empties_the_window() -> None:
    monitor = small()
    assert alarms(monitor, BAD * 2) == [4]
    monitor.reset()
    assert monitor.value is None and monitor.state() == small().state()
    assert alarms(monitor, BAD * 2) == [4]


def test_a_restart_at_any_prediction_changes_nothing() -> None:
    rows = GOOD * 8 + BAD * 20 + GOOD * 10 + BAD * 20
    expected = alarms(small(), rows)
    assert len(expected) > 2
    monitor, found = small(), []
    for row in rows:
        monitor = AucBelow.of(json.loads(json.dumps(monitor.state())))
        found += alarms(monitor, [row])
    assert found == expected


def test_wrong_arguments_are_refused_with_the_remedy() -> None:
    for threshold in (0.0, 1.0, 62.0):
        with pytest.raises(ValueError, match=r"between 0 and 1, such as 0\.62"):
            AucBelow(threshold)
    with pytest.raises(ValueError, match=r"cool_down must be at least window \(500\)"):
        AucBelow(0.6, cool_down=499)
    with pytest.raises(ValueError, match="label must be 0 or 1"):
        AucBelow(0.6).update(0.5, 3)


def test_a_wrong_state_is_refused() -> None:
    monitor = small()
    alarms(monitor, BAD * 3)
    state = monitor.state()
    with pytest.raises(ValueError, match="seen must be a whole number of at least 6"):
        AucBelow.of({**state, "seen": 5})
    with pytest.raises(ValueError, match="left must be at most cool_down"):
        AucBelow.of({**state, "left": 21})
    with pytest.raises(ValueError, match="fields"):
        AucBelow.of({"threshold": 0.5})
