"""Define the calendar, the windows of days and the partition mappings.

Days are those of the shop's time zone (``time_zone``). The first day is ``RECSYS_START_DAY``. If
that is not set, `recsys ingest` stores the log's first day in ``home/calendar.json``, or it is
chosen once per home, so that the demo's 14 days end yesterday. It is stored, so that later
processes see the same partitions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from functools import lru_cache
from time import time
from typing import TYPE_CHECKING, Any

from recsys_assets import local_time
from recsys_assets.files import write_json
from recsys_assets.settings import Settings, get_settings

if TYPE_CHECKING:
    from dagster import DailyPartitionsDefinition, TimeWindowPartitionMapping

SIMULATED_DAYS = 14  # days that the simulator writes
INNER_DAYS = 2  # last training days, on which baselines are tuned
CALENDAR_FILE = "calendar.json"

#: Days from the day of a window: a number, or a function of the settings.
Distance = int | Callable[[Settings], int]


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


def window_size(settings: Settings) -> int:
    """Return the days of a whole window: training and validation."""
    return settings.train_days + settings.validation_days


def first_as_of(settings: Settings) -> str:
    """Return the first as-of day that has a whole window."""
    return (calendar_start(settings) + timedelta(days=window_size(settings) - 1)).isoformat()


def split(as_of: str, settings: Settings) -> tuple[list[str], list[str]]:
    """Return the training days and the validation days of an as-of day; see ``split_of``."""
    return split_of(as_of, calendar_start(settings).isoformat(), settings)


def split_of(as_of: str, first_day: str, settings: Settings) -> tuple[list[str], list[str]]:
    """Return the training days and the validation days of an as-of day.

    Near the calendar's first day a window is shorter. It keeps the ratio of both parts, with at
    least one day each. The calendar's first day has no validation day.
    """
    end, size = date.fromisoformat(as_of), window_size(settings)
    days = (end - date.fromisoformat(first_day)).days + 1
    validation = settings.validation_days
    if days < size:
        share = round(days * validation / size)
        validation = min(max(1, min(validation, share)), max(days - 1, 0))
    every = days_between(end - timedelta(days=max(1, min(days, size)) - 1), end)
    return every[: len(every) - validation], every[len(every) - validation :]


class Part(Enum):
    """The part of an as-of day's window."""

    TRAINING = "training"
    INNER = "inner"  # the last training days, but not all of them
    VALIDATION = "validation"
    BEFORE_VALIDATION = "before_validation"  # the day before each validation day
    WHOLE = "whole"

    def of(self, training: list[str], validation: list[str]) -> list[str]:
        """Return the days of this part of a split."""
        if self is Part.TRAINING:
            return training
        if self is Part.INNER:
            return training[max(1, len(training) - INNER_DAYS) :]
        if self is Part.VALIDATION:
            return validation
        if self is Part.BEFORE_VALIDATION:
            return [previous_day(day) for day in validation]
        return training + validation


@dataclass(frozen=True)
class Window:
    """Consecutive days around a day.

    The artifacts that an asset opens and Dagster's partition mapping are both made from it.

    Attributes:
        first: distance of the first day from the day.
        last: distance of the last day from the day, included.
        clipped: days before the calendar are left out; other days must exist.
        part: of an as-of day's window, which is shorter near the calendar's first day.
        calendar: returns the first day of the calendar, for a clipped window.
    """

    first: Distance
    last: Distance
    clipped: bool = False
    part: Part | None = None
    calendar: Callable[[Settings], date] = calendar_start

    def days(self, settings: Settings, day: str) -> list[str]:
        """Return the window's days; a clipped window leaves out days before the calendar."""
        if self.part is not None:
            return self.part.of(*split(day, settings))
        around = self.around(day, settings)
        return (
            [one for one in around if one >= self.calendar(settings).isoformat()]
            if self.clipped
            else around
        )

    def around(self, day: str, settings: Settings | None = None) -> list[str]:
        """Return all days of a whole window, also those before the calendar."""
        first, last = (
            date.fromisoformat(day) + timedelta(days=distance)
            for distance in self.distances(settings or get_settings())
        )
        return days_between(first, last)

    def distances(self, settings: Settings) -> tuple[int, int]:
        """Return the distances of the first and of the last day."""
        first, last = (
            distance if isinstance(distance, int) else distance(settings)
            for distance in (self.first, self.last)
        )
        return first, last

    def mapping(self) -> TimeWindowPartitionMapping:
        """Return Dagster's partition mapping from a day to the days of a whole window."""
        from dagster import TimeWindowPartitionMapping

        first, last = self.distances(get_settings())
        return TimeWindowPartitionMapping(
            start_offset=first,
            end_offset=last,
            allow_nonexistent_upstream_partitions=self.clipped or self.part is not None,
        )

    def __or__(self, other: Window) -> Window:
        """Return the smallest window that contains both, for a mapping."""

        def nearest(settings: Settings) -> int:
            return min(self.distances(settings)[0], other.distances(settings)[0])

        def farthest(settings: Settings) -> int:
            return max(self.distances(settings)[1], other.distances(settings)[1])

        shrinks = self.part is not None or other.part is not None
        clipped = self.clipped or other.clipped or shrinks
        return Window(nearest, farthest, clipped, calendar=self.calendar)


def _before_training(settings: Settings) -> int:
    return 1 - window_size(settings)


# of an as-of day
TRAINING = Window(_before_training, lambda settings: -settings.validation_days, part=Part.TRAINING)
INNER = Window(
    lambda settings: 1 - settings.validation_days - INNER_DAYS,
    lambda settings: -settings.validation_days,
    part=Part.INNER,
)
VALIDATION = Window(lambda settings: 1 - settings.validation_days, 0, part=Part.VALIDATION)
BEFORE_VALIDATION = Window(
    lambda settings: -settings.validation_days, -1, part=Part.BEFORE_VALIDATION
)
WHOLE_WINDOW = Window(_before_training, 0, part=Part.WHOLE)
#: Days that the queries of the validation days look back on.
QUERY_HISTORY = Window(
    lambda settings: 1 - settings.validation_days - settings.look_back_days, 0, clipped=True
)
# relative to a day
#: Days that a day's features read.
LOOK_BACK = Window(lambda settings: -settings.look_back_days, 0, clipped=True)
#: Days whose clicks are online.
CLICK_HISTORY = Window(lambda settings: 1 - settings.look_back_days, 0, clipped=True)
#: Days whose seen items are online.
SEEN = Window(lambda settings: 1 - settings.kept_seen_days, 0, clipped=True)
POPULARITY = Window(lambda settings: 1 - settings.popularity_days, 0, clipped=True)
RECENT_WINDOW = Window(
    lambda settings: min(_before_training(settings), -settings.look_back_days), 0, clipped=True
)
DAY_BEFORE = Window(-1, -1)
#: Days that the drift monitor may compare a day with: the training days of the release in service,
#: and its first days.
MONITORED = Window(-180, 0, clipped=True)
#: Days that a fine-tune may replay, and the day itself. The older ones are chosen from the
#: champion's training days.
REPLAY = Window(
    lambda settings: min(1 - SIMULATED_DAYS, -window_size(settings), -settings.replay_recent_days),
    0,
    clipped=True,
)


def train_days(as_of: str, settings: Settings | None = None) -> list[str]:
    """Return the training days of an as-of day; without settings, those of a whole window."""
    return TRAINING.days(settings, as_of) if settings else TRAINING.around(as_of)


def validation_days(as_of: str, settings: Settings | None = None) -> list[str]:
    """Return the last days of the window, the as-of day included."""
    return VALIDATION.days(settings, as_of) if settings else VALIDATION.around(as_of)


def window_days(as_of: str, settings: Settings | None = None) -> list[str]:
    """Return the days of the window that ends with the as-of day."""
    return train_days(as_of, settings) + validation_days(as_of, settings)


def previous_day(day: str) -> str:
    """Return the day before a day."""
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()


def day_bounds(day: str, zone: str = local_time.UTC) -> tuple[int, int]:
    """Return [start, end) of a day of the zone in unix seconds."""
    return local_time.day_bounds(day, zone)


def recent_days(settings: Settings, day: str, days: int | None = None) -> list[str]:
    """Return up to ``days`` days that end with this day; by default those of popularity."""
    days = days or settings.popularity_days
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
    """Return the partitions by as-of day: each day that is over."""
    from dagster import DailyPartitionsDefinition

    settings = get_settings()
    return DailyPartitionsDefinition(
        start_date=calendar_start(settings).isoformat(), timezone=time_zone(settings)
    )
