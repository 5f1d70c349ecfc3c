"""Compute the clock features: hour and weekday of the shop's time zone.

The zone is written in ``transforms.json``, so that serving uses the one of the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recsys_assets.columns import EPOCH_WEEKDAY, SECONDS_PER_HOUR
from recsys_assets.local_time import UTC, local_seconds


def _circle(steps: int) -> np.ndarray:
    """Return sine and cosine of each step on the circle, float32 [steps, 2]."""
    angle = 2 * np.pi * np.arange(steps) / steps
    return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


#: float32 [168, 4]: clock features of each hour of a week that begins on Monday.
_HOURS_OF_WEEK = np.concatenate(
    [np.tile(_circle(24), (7, 1)), np.repeat(_circle(7), 24, axis=0)], axis=1
)


def zone_of(content: Mapping[str, Any]) -> str:
    """Return the time zone of a transforms.json; UTC where an older version wrote none."""
    return str(content.get("time_zone", UTC))


def clock_features(timestamp: np.ndarray, zone: str = UTC) -> np.ndarray:
    """Return hour of day and weekday (local, Monday = 0) as points on a circle.

    Args:
        timestamp: unix seconds, int64 [N].
        zone: the shop's time zone.

    Returns:
        float32 [N, 4]: hour_sin, hour_cos, weekday_sin, weekday_cos.
    """
    hour: np.ndarray = local_seconds(timestamp, zone) // SECONDS_PER_HOUR
    return _HOURS_OF_WEEK.take((hour + 24 * EPOCH_WEEKDAY) % len(_HOURS_OF_WEEK), axis=0)
