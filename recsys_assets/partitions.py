"""Define the calendar, the windows of days and the partition mappings.

Days are those of the shop's time zone (``time_zone``). The first day is ``RECSYS_START_DAY``. If
that is not set, `recsys ingest` stores the log's first day in ``home/calendar.json``, or it is
chosen once per home, so that the demo's 14 days end yesterday.

How many days a window has is a setting. Every day of the calendar can be an as-of day: a log that
is shorter than a whole window is split by the same ratio (``split_of``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from recsys_assets import local_time
from recsys_assets.columns import HISTORY_DAYS
from recsys_assets.files import write_json
from recsys_assets.settings import Settings, get_settings

if TYPE_CHECKING:
    from dagster import DailyPartitionsDefinition, TimeWindowPartitionMapping

SIMULATED_DAYS = 14  # days that the simulator writes
INNER_DAYS = 2  # last training days, on which baselines are tuned
CALENDAR_FILE = "calendar.json"


# --- the calendar ---------------------------------------------------------------------------------
def stored_calendar(settings: Settings) -> dict[str, Any]:
    """Return the content of ``home/calendar.json``; empty if there is none."""
    path = settings.home / CALENDAR_FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}


def time_zone(settings: Settings) -> str:
    """Return the shop's time zone: RECSYS_TIME_ZONE, else that of the home, else UTC."""
    return settings.time_zone or str(stored_calendar(settings).get("time_zone", local_time.UTC))


def today(settings: Settings) -> date:
    """Return the current day in the shop's time zone."""
    return date.fromisoformat(local_time.day_of(int(time()), time_zone(settings)))


def calendar_start(settings: Settings) -> date:
    """Return the first daily partition; it is stored in ``home/calendar.json``."""
    if settings.start_day is not None:
        return settings.start_day
    stored = stored_calendar(settings)
    if "start_day" not in stored:
        stored["start_day"] = (today(settings) - timedelta(days=SIMULATED_DAYS)).isoformat()
        write_json(settings.home / CALENDAR_FILE, stored)
    return date.fromisoformat(stored["start_day"])


def days_between(first: date, last: date) -> list[str]:
    """Return the ISO days from first to last, both included."""
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def history_days(settings: Settings) -> list[str]:
    """Return the days that the simulator writes."""
    first = calendar_start(settings)
    return days_between(first, first + timedelta(days=SIMULATED_DAYS - 1))


def first_as_of(settings: Settings) -> str:
    """Return the first as-of day that has a whole window."""
    whole = settings.train_days + settings.validation_days
    return (calendar_start(settings) + timedelta(days=whole - 1)).isoformat()


def day_bounds(day: str, zone: str = local_time.UTC) -> tuple[int, int]:
    """Return [start, end) of a day in unix seconds."""
    return local_time.day_bounds(day, zone)


# --- windows --------------------------------------------------------------------------------------
class Split(NamedTuple):
    """Holds the numbers of days that train and that validate as of a day."""

    train: int
    validation: int


def split_of(days: int, settings: Settings) -> Split:
    """Return how many of the days up to an as-of day train, and how many validate.

    A log that is shorter than a whole window keeps the ratio of the two settings, with one
    validation day at least. A single day trains.

    Args:
        days: from the calendar's first day to the as-of day, both included.
        settings: name the whole window.

    >>> [tuple(split_of(days, Settings())) for days in (1, 2, 7, 12, 100)]
    [(1, 0), (1, 1), (5, 2), (9, 3), (9, 3)]
    """
    whole = settings.train_days + settings.validation_days
    if days >= whole:
        return Split(settings.train_days, settings.validation_days)
    if days < 2:
        return Split(max(days, 0), 0)
    share = round(days * settings.validation_days / whole)
    validation = min(max(1, min(settings.validation_days, share)), days - 1)
    return Split(days - validation, validation)


def split_as_of(settings: Settings, as_of: str) -> Split:
    """Return how many days train and validate as of a day."""
    return split_of((date.fromisoformat(as_of) - calendar_start(settings)).days + 1, settings)


#: Distance of a day from the window's own day, as a number or from the settings and the split.
Distance = int | Callable[[Settings, Split], int]


@dataclass(frozen=True)
class Window:
    """Consecutive days around a day; there may be none.

    The artifacts that an asset opens and Dagster's partition mapping are both made from it. The
    mapping is that of a whole window. What is opened is shorter where the calendar is.

    Attributes:
        first: distance of the first day from the day.
        last: distance of the last day from the day, included; before ``first``: no day.
        clipped: days before the calendar are left out; other days must exist.
    """

    first: Distance
    last: Distance
    clipped: bool = False

    def days(self, settings: Settings, day: str) -> list[str]:
        """Return the window's days; a clipped window leaves out days before the calendar."""
        around = self._around(settings, day, split_as_of(settings, day))
        start = calendar_start(settings).isoformat()
        return [one for one in around if one >= start] if self.clipped else around

    def _around(self, settings: Settings, day: str, split: Split) -> list[str]:
        first, last = (
            date.fromisoformat(day) + timedelta(days=_value(distance, settings, split))
            for distance in (self.first, self.last)
        )
        return days_between(first, last)

    def mapping(self, settings: Settings | None = None) -> TimeWindowPartitionMapping:
        """Return Dagster's partition mapping from a day to the days of a whole window.

        Args:
            settings: name the window; None: those of this process.
        """
        from dagster import TimeWindowPartitionMapping

        settings = settings or get_settings()
        whole = Split(settings.train_days, settings.validation_days)
        first, last = (_value(one, settings, whole) for one in (self.first, self.last))
        return TimeWindowPartitionMapping(
            # a window without a day, such as INNER with one training day, keeps a valid range
            start_offset=min(first, last),
            end_offset=last,
            allow_nonexistent_upstream_partitions=self.clipped or not isinstance(self.first, int),
        )

    def __or__(self, other: Window) -> Window:
        """Return the smallest window that contains both."""
        return Window(
            _extreme(min, self.first, other.first),
            _extreme(max, self.last, other.last),
            self.clipped or other.clipped,
        )


def _value(distance: Distance, settings: Settings, split: Split) -> int:
    return distance if isinstance(distance, int) else distance(settings, split)


def _extreme(choose: Callable[[int, int], int], one: Distance, other: Distance) -> Distance:
    if isinstance(one, int) and isinstance(other, int):
        return choose(one, other)
    return lambda settings, split: choose(
        _value(one, settings, split), _value(other, settings, split)
    )


def _first_training(_: Settings, split: Split) -> int:
    return 1 - split.train - split.validation


def _last_training(_: Settings, split: Split) -> int:
    return -split.validation


def _first_inner(_: Settings, split: Split) -> int:
    return 1 - split.validation - min(INNER_DAYS, max(split.train - 1, 0))


def _first_validation(_: Settings, split: Split) -> int:
    return 1 - split.validation


# relative to an as-of day
TRAINING = Window(_first_training, _last_training)
#: The last training days; none where a single day trains.
INNER = Window(_first_inner, _last_training)
VALIDATION = Window(_first_validation, 0)
BEFORE_VALIDATION = Window(_last_training, -1)  # the day before each validation day
WHOLE_WINDOW = Window(_first_training, 0)
# relative to a day
LOOK_BACK = Window(-HISTORY_DAYS, 0, clipped=True)  # days that a day's features read
CLICK_HISTORY = Window(1 - HISTORY_DAYS, 0, clipped=True)  # days whose clicks are online
POPULARITY = Window(lambda settings, _: 1 - settings.popularity_days, 0, clipped=True)
RECENT_WINDOW = Window(
    lambda settings, _: 1 - settings.train_days - settings.validation_days, 0, clipped=True
)
DAY_BEFORE = Window(-1, -1)
#: Days that a fine-tune may replay, and the day itself: the window of a champion that is two days
#: old, or the recent days. The older ones are chosen from the champion's training days.
REPLAY = Window(
    lambda settings, _: min(
        -1 - settings.train_days - settings.validation_days, -settings.replay_recent_days
    ),
    0,
    clipped=True,
)


def train_days(settings: Settings, as_of: str) -> list[str]:
    """Return the days that a training as of a day learns."""
    return TRAINING.days(settings, as_of)


def validation_days(settings: Settings, as_of: str) -> list[str]:
    """Return the days that judge a training as of a day, the as-of day last."""
    return VALIDATION.days(settings, as_of)


def window_days(settings: Settings, as_of: str) -> list[str]:
    """Return the training days and the validation days of an as-of day."""
    return WHOLE_WINDOW.days(settings, as_of)


def previous_day(day: str) -> str:
    """Return the day before a day."""
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()


def day_with_history(settings: Settings, day: str) -> list[str]:
    """Return the days that a day's features read: HISTORY_DAYS and the day.

    Days before the calendar are left out.
    """
    return LOOK_BACK.days(settings, day)


def recent_days(settings: Settings, day: str, days: int) -> list[str]:
    """Return up to ``days`` days that end with this day."""
    first = max(calendar_start(settings), date.fromisoformat(day) - timedelta(days=days - 1))
    return days_between(first, date.fromisoformat(day))


# --- Dagster partitions (Dagster is imported late: lib reads this module without it) --------------


@lru_cache(maxsize=1)
def daily() -> DailyPartitionsDefinition:
    """Return the daily partitions, up to today's, which receives today's events."""
    from dagster import DailyPartitionsDefinition

    settings = get_settings()
    return DailyPartitionsDefinition(
        start_date=calendar_start(settings).isoformat(), timezone=time_zone(settings), end_offset=1
    )


@lru_cache(maxsize=1)
def as_of() -> DailyPartitionsDefinition:
    """Return the partitions by as-of day: each past day of the calendar."""
    from dagster import DailyPartitionsDefinition

    settings = get_settings()
    return DailyPartitionsDefinition(
        start_date=calendar_start(settings).isoformat(), timezone=time_zone(settings)
    )
