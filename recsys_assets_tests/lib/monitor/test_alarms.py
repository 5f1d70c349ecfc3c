"""Test what an alarm asks for, and that the state survives a restart."""

from __future__ import annotations

import pytest

from recsys_assets.lib.monitor.alarms import Alarm, AlarmState, CursorInvalid, Decision, decide


def day(number: int) -> str:
    return f"2026-03-{number:02d}"


def told(number: int, drifted: str = "", judged: bool = True, train: bool = False) -> Alarm:
    return Alarm(day(number), (drifted,) if drifted else (), judged, train)


def asked(alarm: Alarm, state: AlarmState | None = None, **other: bool) -> Decision:
    return decide(alarm, state or AlarmState(), cool_down_days=3, **other)


def test_a_story_of_alarms() -> None:
    """Each state goes through its text, as it does when the sensor's process restarts."""
    state, jobs = AlarmState(), {}
    for alarm in (
        told(1),
        told(2, "auc"),  # a fine-tune
        told(3, "auc"),  # within the cool-down
        told(4, "auc"),
        told(5, "auc"),  # it did not help: a full training
        told(6, "auc"),
        told(7),  # it helped
        told(9, "auc"),  # so a fine-tune is tried first
        told(12, judged=False),
        told(13, "auc"),  # nothing was judged since: it did not help
    ):
        decided = asked(alarm, AlarmState.read(state.text()))
        state = decided.state
        if decided.job:
            jobs[alarm.day] = decided.job
    assert jobs == {
        day(2): "fine_tune",
        day(5): "full_training",
        day(9): "fine_tune",
        day(13): "full_training",
    }


def test_a_day_is_judged_once() -> None:
    first = asked(told(2, "auc"))
    again = asked(told(2, "auc"), first.state)
    assert (again.job, again.state) == (None, first.state) and "was judged before" in again.reason
    earlier = asked(told(1, "auc"), first.state)
    assert earlier.job is None and earlier.state == first.state


def test_reasons_say_why_nothing_starts() -> None:
    first = asked(told(2, "auc fell"))
    assert first.reason == "drift on 2026-03-02: auc fell"
    waits = asked(told(3, "auc fell"), first.state)
    assert "asked for fine_tune, and the cool-down of 3 days has not passed" in waits.reason
    assert waits.state.judged == day(3) and waits.state.asked == day(2)
    assert asked(told(3), first.state).reason == "no drift on 2026-03-03"
    empty = asked(told(3, judged=False), first.state)
    assert "too little to judge" in empty.reason and not empty.state.recovered
    trained = asked(told(5, "auc fell"), first.state)
    assert "the fine-tune after 2026-03-02 did not help" in trained.reason


def test_a_vocabulary_and_a_champion_without_models_need_a_training() -> None:
    assert asked(told(2, "unknown items", train=True)).job == "full_training"
    assert asked(told(2, "auc"), can_tune=False).job == "full_training"
    # also after a training that did not help
    state = AlarmState(day(2), day(2), "full_training")
    assert asked(told(5, "items", train=True), state).job == "full_training"
    assert asked(told(5, "auc"), state).job == "fine_tune"


@pytest.mark.parametrize("text", ["17", "{", '{"other": 1}', '{"judged": "yesterday"}', "[]"])
def test_a_cursor_of_another_form_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(CursorInvalid, match="reset it in the UI"):
        AlarmState.read(text)


def test_no_cursor_is_a_new_state() -> None:
    assert AlarmState.read(None) == AlarmState.read("") == AlarmState()
