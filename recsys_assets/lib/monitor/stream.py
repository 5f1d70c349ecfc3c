"""Define what the monitors of a stream of labelled predictions share.

A monitor receives one prediction at a time, in the order of the labels' arrival. Its state is plain
data, so that a durable cursor can hold it as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

State = dict[str, Any]


@dataclass(frozen=True)
class StreamAlarm:
    """Holds what a monitor of a stream found.

    Attributes:
        monitor: its name.
        prediction: number of the labelled prediction, from 1 since the start or the last reset.
        value: the measure at that prediction.
        reference: what the measure was compared with.
    """

    monitor: str
    prediction: int
    value: float
    reference: float

    def __str__(self) -> str:
        return (
            f"{self.monitor}: {self.value:.4f} beside {self.reference:.4f} at labelled prediction "
            f"{self.prediction:,}"
        )


class StreamMonitor(Protocol):
    """Watches labelled predictions of one model.

    Each class also has ``of(state)``, which returns the monitor of a state. A monitor and its copy
    by ``of(monitor.state())`` raise the same alarms.
    """

    def update(self, score: float, label: int) -> StreamAlarm | None:
        """Count one labelled prediction; return an alarm if there is a new one.

        Raises:
            ValueError: the score or the label is not valid; nothing was counted.
        """

    def reset(self) -> None:
        """Begin again, because another model answers from now on."""

    def state(self) -> State:
        """Return the state as plain data for JSON."""


class CoolDown:
    """Keeps a monitor silent after an alarm, so that one change gives one alarm.

    Args:
        length: predictions without an alarm after one.
        left: of them, those to come.

    Raises:
        ValueError: a number is not valid.
    """

    def __init__(self, length: int, left: int = 0) -> None:
        self.length = whole("cool_down", length, 1)
        self.left = whole("left", left, 0)
        if left > length:
            raise ValueError(f"left must be at most cool_down ({length}), got {left}")

    def silent(self) -> bool:
        """Count one prediction; return whether it may raise no alarm."""
        if not self.left:
            return False
        self.left -= 1
        return True

    def begin(self) -> None:
        """Begin, because an alarm was raised."""
        self.left = self.length

    def end(self) -> None:
        """End, because another model answers."""
        self.left = 0


def whole(name: str, value: object, least: int) -> int:
    """Return a whole number that is not below the least.

    Raises:
        ValueError: it is another value; the message has the name.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return value


def finite(name: str, value: object) -> float:
    """Return a finite number as a Python float.

    Raises:
        ValueError: it is another value; the message has the name.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a finite number, got {value!r}") from error
    if not math.isfinite(number):
        raise ValueError(
            f"{name} must be a finite number, got {value!r}; leave the prediction out, and check "
            "whether the model diverged"
        )
    return number


def binary(label: Any) -> int:
    """Return a label as 0 or 1.

    Raises:
        ValueError: it is another value.
    """
    if label not in (0, 1):
        raise ValueError(f"label must be 0 or 1, got {label!r}; leave unlabelled predictions out")
    return int(label)


def sequence(name: str, value: object) -> list[Any]:
    """Return a list of a state.

    Raises:
        ValueError: it is another value; the message names the remedy.
    """
    if not isinstance(value, list):
        raise ValueError(
            f"{name} must be a list, got {type(value).__name__}; drop the state and begin with a "
            "new monitor"
        )
    return value


def fields(state: Mapping[str, Any], names: frozenset[str], monitor: str) -> Mapping[str, Any]:
    """Return a state that has exactly these fields.

    Raises:
        ValueError: it has others; the message names the remedy.
    """
    if not isinstance(state, Mapping) or set(state) != names:
        found = sorted(state) if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(
            f"state must have the fields {sorted(names)} of a {monitor}, got {found}; it is of "
            "another version: drop it and begin with a new monitor"
        )
    return state
