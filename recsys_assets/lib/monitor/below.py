"""Raise an alarm when the rolling AUC falls below a threshold, once per episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys_assets.lib.monitor.rolling_auc import MINIMUM, WINDOW, RollingAuc
from recsys_assets.lib.monitor.stream import CoolDown, State, StreamAlarm, fields, finite, whole

#: Ten windows: a retrain has begun by then, or was missed.
COOL_DOWN = 5_000
_FIELDS = frozenset({"threshold", "cool_down", "left", "seen", "rolling"})


class AucBelow:
    """Compares the rolling AUC with a threshold.

    After an alarm it is silent for ``cool_down`` predictions, or until ``reset``. If the AUC is
    still below the threshold afterwards, that is a new episode.

    Args:
        threshold: alarm below it; ``auc_threshold.suggested_threshold`` derives one.
        cool_down: predictions without an alarm after one; at least the window, so that two alarms
            share no prediction.
        window: latest predictions in the AUC.
        minimum: predictions from which on the AUC is known.

    Raises:
        ValueError: an argument is not valid.
    """

    NAME = "rolling AUC"

    def __init__(
        self,
        threshold: float,
        cool_down: int = COOL_DOWN,
        window: int = WINDOW,
        minimum: int = MINIMUM,
    ) -> None:
        self.threshold = finite("threshold", threshold)
        if not 0 < self.threshold < 1:
            raise ValueError(
                f"threshold must be an AUC between 0 and 1, such as 0.62, got {threshold!r}"
            )
        self._rolling = RollingAuc(window, minimum)
        self._cool_down = CoolDown(cool_down)
        if cool_down < window:
            raise ValueError(
                f"cool_down must be at least window ({window}), so that two alarms share no "
                f"prediction; got {cool_down}"
            )
        self._seen = 0

    @property
    def value(self) -> float | None:
        """Return the rolling AUC; None where it is not known."""
        return self._rolling.value

    def update(self, score: float, label: int) -> StreamAlarm | None:
        """Count one labelled prediction; return an alarm if one begins.

        Args:
            score: any finite number; higher means more likely positive.
            label: 0 or 1.

        Raises:
            ValueError: the score or the label is not valid; nothing was counted.
        """
        value = self._rolling.update(score, label)
        self._seen += 1
        if self._cool_down.silent() or value is None or value >= self.threshold:
            return None
        self._cool_down.begin()
        return StreamAlarm(self.NAME, self._seen, value, self.threshold)

    def reset(self) -> None:
        """Begin again: the window is empty, and the cool-down ends."""
        self._rolling.reset()
        self._cool_down.end()
        self._seen = 0

    def state(self) -> State:
        """Return the state as plain data for JSON."""
        return {
            "threshold": self.threshold,
            "cool_down": self._cool_down.length,
            "left": self._cool_down.left,
            "seen": self._seen,
            "rolling": self._rolling.state(),
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> AucBelow:
        """Return the monitor of a state.

        Raises:
            ValueError: the state is not one of ``state()``.
        """
        given = fields(state, _FIELDS, cls.__name__)
        rolling = RollingAuc.of(given["rolling"])
        found = cls(given["threshold"], given["cool_down"], rolling.window, rolling.minimum)
        found._rolling = rolling
        found._cool_down = CoolDown(given["cool_down"], given["left"])
        found._seen = whole("seen", given["seen"], len(rolling))
        return found
