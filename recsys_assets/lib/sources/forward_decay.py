"""Weigh clicks by forward decay, so that a count never has to be aged.

A click at time t weighs 2^((t - T) / H) with H the half-life and T a time before it. All counts
with the same T have the same order at every later moment, so the most popular items of now are one
read of a sorted set (Cormode et al. 2009, "Forward Decay: A Practical Time Decay Model for
Streaming Systems").

Weights double per half-life, so T moves on: it is the start of a period of PERIOD half-lives. A
click counts in its own period and in the next one, whose counts therefore hold the past when it
starts. Weights in one period's counts are from 2^-PERIOD to 2^PERIOD, so float64 holds any sum.
"""

from __future__ import annotations

import numpy as np

from recsys_assets.columns import SECONDS_PER_HOUR

#: Hours. On ten shops of `recsys bench shops`, 12 to 24 hours are best where tastes change quickly
#: (news and fashion); longer ones approach the source ``popularity``. Three hours are best on none
#: of them; they are for shops with many clicks per hour.
HALF_LIVES = (3, 12)
DEFAULT_HALF_LIFE = 12
#: Half-lives per period.
PERIOD = 256
#: A visitor's click on an item counts only if this many seconds lie between it and their other
#: clicks on it, so that one visitor who repeats a click does not make an item popular.
APART = 3_600


def period_of(at: float, half_life: int) -> int:
    """Return the number of the period of a moment.

    Args:
        at: unix seconds.
        half_life: hours.
    """
    return int(at // (PERIOD * half_life * SECONDS_PER_HOUR))


def period_start(period: int, half_life: int) -> int:
    """Return the start of a period, unix seconds."""
    return period * PERIOD * half_life * SECONDS_PER_HOUR


def weights(at: np.ndarray, start: np.ndarray | int, half_life: int) -> np.ndarray:
    """Return the weights of clicks, float64 [N].

    Args:
        at: unix seconds of the clicks, int64 [N].
        start: unix seconds from which the weights are reckoned, of each click or of all.
        half_life: hours.

    >>> weights(np.array([0, 3 * 3600]), 0, 3).tolist()
    [1.0, 2.0]
    """
    return np.asarray(np.exp2((at - start) / (half_life * SECONDS_PER_HOUR)))
