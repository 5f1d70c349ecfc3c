"""Find a rise of the log loss of a stream without a threshold set by hand.

ADWIN (Bifet and Gavaldà 2007, "Learning from time-changing data with adaptive windowing", SIAM
International Conference on Data Mining) keeps a window of losses as long as their mean is constant,
and cuts it where the means of two parts surely differ. River computes it. The loss sees what an AUC
does not, such as a changed rate of positives or a lost calibration, and it needs more predictions
to see a changed order.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from recsys_assets.lib.monitor.below import COOL_DOWN
from recsys_assets.lib.monitor.stream import (
    CoolDown,
    State,
    StreamAlarm,
    binary,
    fields,
    finite,
    whole,
)

#: Probabilities are kept this far from 0 and 1. One sure mistake then weighs little more than a
#: common one, and ADWIN's bound, which grows with the range of the losses, stays small.
CLIPPED = 0.05
#: River's default. In the paper it bounds the chance of a false cut per check.
DELTA = 0.002
MEMORY = 20_000
#: Losses are rounded to whole numbers of 1/STEPS, one byte each. The rounding error is a hundredth
#: of the deviation of a loss.
STEPS = 255
_FIELDS = frozenset({"delta", "cool_down", "memory", "left", "seen", "losses"})


class LossDetector:
    """Watches the mean log loss by ADWIN, and raises an alarm where it rises.

    A fall of the loss begins a new window without an alarm. After an alarm it is silent for
    ``cool_down`` predictions, or until ``reset``; meanwhile ADWIN learns the new mean.

    River's object has no public form as plain data. So the state holds the losses since ADWIN's
    last start, and ``of`` replays them, which gives the same detector exactly. At ``memory`` losses
    ADWIN starts again from the latest half. At 20,000 losses a state takes 27 kB as JSON, and its
    replay about 10 ms. The bounded memory costs little: on 50 streams of ``bench/ads`` the median
    delay was 624 predictions, 608 with unbounded memory and 696 with 10,000 losses.

    Args:
        delta: ADWIN's bound of the chance of a false cut per check; it checks every 32 losses.
        cool_down: predictions without an alarm after one.
        memory: largest number of losses in ADWIN and in the state.

    Raises:
        ValueError: an argument is not valid.
    """

    NAME = "log loss"

    def __init__(
        self, delta: float = DELTA, cool_down: int = COOL_DOWN, memory: int = MEMORY
    ) -> None:
        self.delta = finite("delta", delta)
        if not 0 < self.delta < 1:
            raise ValueError(
                f"delta must be a probability between 0 and 1, such as {DELTA}, got {delta!r}"
            )
        self.memory = whole("memory", memory, 1_000)
        self._cool_down = CoolDown(cool_down)
        self._seen = 0
        self._losses = bytearray()
        self._adwin = self._replayed(())

    @property
    def value(self) -> float | None:
        """Return the mean scaled loss of ADWIN's window, 0 to 1; None before the first."""
        return float(self._adwin.estimation) if self._adwin.width else None

    def update(self, score: float, label: int) -> StreamAlarm | None:
        """Count one labelled prediction; return an alarm if the loss has risen.

        Args:
            score: probability of a positive, 0 to 1.
            label: 0 or 1.

        Raises:
            ValueError: the score or the label is not valid; nothing was counted.
        """
        loss = round(STEPS * scaled_loss(score, label))
        before = self.value
        self._add(loss)
        self._seen += 1
        silent = self._cool_down.silent()
        if not self._adwin.drift_detected:
            return None
        after = float(self._adwin.estimation)
        # river drops its whole window after a cut; the copy of a state has to do so as well
        self._losses, self._adwin = bytearray(), self._replayed(())
        if silent or before is None or after <= before:
            return None
        self._cool_down.begin()
        return StreamAlarm(self.NAME, self._seen, after, before)

    def reset(self) -> None:
        """Begin again: ADWIN is empty, and the cool-down ends."""
        self._losses, self._adwin = bytearray(), self._replayed(())
        self._cool_down.end()
        self._seen = 0

    def state(self) -> State:
        """Return the state as plain data for JSON; losses [≤ memory] as bytes in base64."""
        return {
            "delta": self.delta,
            "cool_down": self._cool_down.length,
            "memory": self.memory,
            "left": self._cool_down.left,
            "seen": self._seen,
            "losses": b64encode(self._losses).decode("ascii"),
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> LossDetector:
        """Return the detector of a state.

        Raises:
            ValueError: the state is not one of ``state()``.
        """
        given = fields(state, _FIELDS, cls.__name__)
        found = cls(given["delta"], given["cool_down"], given["memory"])
        found._cool_down = CoolDown(given["cool_down"], given["left"])
        found._seen = whole("seen", given["seen"], 0)
        try:
            losses = bytearray(b64decode(given["losses"], validate=True))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"losses must be bytes in base64 ({error}); drop the state and begin with a new "
                "monitor"
            ) from error
        if len(losses) > found.memory:
            raise ValueError(
                f"losses must be at most memory ({found.memory}), got {len(losses)}; drop the "
                "state and begin with a new monitor"
            )
        found._losses, found._adwin = losses, found._replayed(losses)
        return found

    def _add(self, loss: int) -> None:
        if len(self._losses) == self.memory:
            self._losses = self._losses[-(self.memory // 2) :]
            self._adwin = self._replayed(self._losses)
        self._losses.append(loss)
        self._adwin.update(loss / STEPS)

    def _replayed(self, losses: Sequence[int]) -> Any:
        """Return an ADWIN that has received these losses."""
        # river imports pandas and scikit-learn, two seconds that no other monitor needs
        from river.drift import ADWIN

        # river's functions have no types
        adwin: Any = ADWIN
        found = adwin(delta=self.delta)
        for loss in losses:
            found.update(loss / STEPS)
        return found


def scaled_loss(score: float, label: int) -> float:
    """Return the log loss of a probability that is kept CLIPPED from 0 and 1, scaled to [0, 1].

    Args:
        score: probability of a positive, 0 to 1.
        label: 0 or 1.

    Raises:
        ValueError: the score is no probability, or the label is neither 0 nor 1.

    >>> scaled_loss(0.0, 1), round(scaled_loss(0.5, 0), 4)
    (1.0, 0.2314)
    """
    probability = finite("score", score)
    if not 0 <= probability <= 1:
        raise ValueError(
            f"score must be a probability from 0 to 1, got {score!r}; give the sigmoid of a logit"
        )
    right = probability if binary(label) else 1 - probability
    return math.log(min(max(right, CLIPPED), 1 - CLIPPED)) / math.log(CLIPPED)
