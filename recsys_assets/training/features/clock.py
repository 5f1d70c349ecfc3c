"""Compute the clock features: hour and weekday of the shop's time zone.

Serving computes the same in ``lib/features/clock.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from recsys_assets import columns as c
from recsys_assets import local_time


def _hour_angle(local: pd.Series) -> pd.Series:
    return local // c.SECONDS_PER_HOUR % 24 * (2 * math.pi / 24)


def _weekday_angle(local: pd.Series) -> pd.Series:
    return (local // c.SECONDS_PER_DAY + c.EPOCH_WEEKDAY) % 7 * (2 * math.pi / 7)


#: Column → the angle of a local time and its wave.
WAVES: dict[str, tuple[Callable[[pd.Series], pd.Series], Callable[[pd.Series], pd.Series]]] = {
    c.HOUR_SIN: (_hour_angle, np.sin),
    c.HOUR_COS: (_hour_angle, np.cos),
    c.WEEKDAY_SIN: (_weekday_angle, np.sin),
    c.WEEKDAY_COS: (_weekday_angle, np.cos),
}


class LocalWave:
    """Computes one clock feature from moments.

    It is an object, because a saved workflow must hold the time zone.

    Args:
        name: a clock feature of ``columns.py``.
        time_zone: IANA name.
    """

    def __init__(self, name: str, time_zone: str) -> None:
        self.__name__ = name  # NVTabular shows it
        self._time_zone = time_zone

    def __call__(self, timestamp: pd.Series) -> pd.Series:
        """Return the feature of unix seconds, float32."""
        angle, wave = WAVES[self.__name__]
        local = local_time.local_seconds(timestamp, self._time_zone)
        return wave(angle(local)).astype("float32")
