"""Decide what an alarm asks for: a fine-tune first, then a full training, with pauses between.

The state is what a sensor keeps as its cursor. The decision is a function of state and findings
alone, so that a restart at any point repeats it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Literal

Job = Literal["fine_tune", "full_training"]
FINE_TUNE: Job = "fine_tune"
FULL_TRAINING: Job = "full_training"


class CursorInvalid(ValueError):
    """A stored cursor cannot be read; the message names the remedy."""


@dataclass(frozen=True)
class AlarmState:
    """Holds what was judged and asked for, as the cursor of a sensor.

    Attributes:
        judged: last judged day, ISO; None: none yet.
        asked: day of the last alarm that was answered, ISO; None: none yet.
        job: what that alarm asked for.
        recovered: a later day was judged without an alarm.
    """

    judged: str | None = None
    asked: str | None = None
    job: Job | None = None
    recovered: bool = False

    def text(self) -> str:
        """Return the state as a cursor."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, cursor: str | None) -> AlarmState:
        """Return the state of a cursor; a new one without a cursor.

        Raises:
            CursorInvalid: the text has another form.
        """
        if not cursor:
            return cls()
        try:
            given = json.loads(cursor)
            state = cls(**given)
            for day in (state.judged, state.asked):
                if day is not None:
                    date.fromisoformat(day)
        except (TypeError, ValueError) as error:
            raise CursorInvalid(
                f"the cursor {cursor!r} is not one of this sensor ({error}); reset it in the UI, "
                "under Automation"
            ) from error
        return state


@dataclass(frozen=True)
class Alarm:
    """Holds the findings of a judged day.

    Attributes:
        day: ISO.
        drifted: what has drifted, in words; empty: nothing.
        judged: something could be judged; otherwise the day says nothing.
        needs_training: only a full training helps, for example with unknown values of a vocabulary.
    """

    day: str
    drifted: tuple[str, ...] = ()
    judged: bool = True
    needs_training: bool = False


@dataclass(frozen=True)
class Decision:
    """Holds what to start, why, and the state afterwards.

    Attributes:
        job: to start; None: nothing.
        reason: in words.
        state: the next cursor, if the job was started or there is none.
    """

    job: Job | None
    reason: str
    state: AlarmState


def decide(
    alarm: Alarm, state: AlarmState, *, cool_down_days: int, can_tune: bool = True
) -> Decision:
    """Return what an alarm asks for.

    A second alarm within the cool-down asks for nothing: the new model needs days to be measured.
    An alarm after it asks for a full training if the last one asked for a fine-tune and no day was
    fine since.

    Args:
        alarm: of a day; a day that was judged before changes nothing.
        state: the cursor.
        cool_down_days: days after an answered alarm in which no other is answered.
        can_tune: a fine-tune is possible.
    """
    if state.judged is not None and alarm.day <= state.judged:
        return Decision(None, f"{alarm.day} was judged before", state)
    after = replace(state, judged=alarm.day)
    if not alarm.judged:
        return Decision(None, f"{alarm.day} has too little to judge", after)
    if not alarm.drifted:
        return Decision(None, f"no drift on {alarm.day}", replace(after, recovered=True))
    said = f"drift on {alarm.day}: {'; '.join(alarm.drifted)}"
    if state.asked is not None:
        passed = (date.fromisoformat(alarm.day) - date.fromisoformat(state.asked)).days
        if passed < cool_down_days:
            return Decision(
                None,
                f"{said}; the alarm of {state.asked} asked for {state.job}, and the cool-down of "
                f"{cool_down_days} days has not passed",
                after,
            )
    helped = state.job != FINE_TUNE or state.recovered
    job = FINE_TUNE if can_tune and helped and not alarm.needs_training else FULL_TRAINING
    if job == FULL_TRAINING and state.job == FINE_TUNE and not state.recovered:
        said += f"; the fine-tune after {state.asked} did not help"
    return Decision(job, said, AlarmState(alarm.day, alarm.day, job, recovered=False))
