"""Define the calendar, the windows of days and the partition mappings.

Days are UTC. The first day is ``RECSYS_START_DAY``. If that is not set, it is chosen once per home,
so that the demo's 14 days end yesterday. It is stored, so that later processes see the same
partitions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

from recsys_assets.columns import HISTORY_DAYS as LOOK_BACK_DAYS
from recsys_assets.files import write_json
from recsys_assets.settings import Settings, get_settings

if TYPE_CHECKING:
    from dagster import DailyPartitionsDefinition, TimeWindowPartitionMapping

SIMULATED_DAYS = 14  # days that the simulator writes
TRAIN_DAYS, VALIDATION_DAYS = 9, 3
WINDOW_DAYS = TRAIN_DAYS + VALIDATION_DAYS
#: Days that a fine-tune replays beside the new day: recent ones, and random older training days.
REPLAY_RECENT_DAYS, REPLAY_OLDER_DAYS = 3, 2
POPULARITY_DAYS = 7  # days of clicks in the online popularity
INNER_DAYS = 2  # last training days, on which baselines are tuned


def today() -> date:
    """Return the current day in UTC."""
    return datetime.now(timezone.utc).date()


def calendar_start(settings: Settings) -> date:
    """Return the first daily partition; it is stored in ``home/calendar.json``."""
    if settings.start_day is not None:
        return settings.start_day
    path = settings.home / "calendar.json"
    if not path.exists():
        write_json(path, {"start_day": (today() - timedelta(days=SIMULATED_DAYS)).isoformat()})
    return date.fromisoformat(json.loads(path.read_text())["start_day"])


def days_between(first: date, last: date) -> list[str]:
    """Return the ISO days from first to last, both included."""
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def history_days(settings: Settings) -> list[str]:
    """Return the days that the simulator writes."""
    first = calendar_start(settings)
    return days_between(first, first + timedelta(days=SIMULATED_DAYS - 1))


def first_as_of(settings: Settings) -> str:
    """Return the first as-of day that has a whole window."""
    return (calendar_start(settings) + timedelta(days=WINDOW_DAYS - 1)).isoformat()


@dataclass(frozen=True)
class Window:
    """Consecutive days around a day.

    The artifacts that an asset opens and Dagster's partition mapping are both made from it.

    Attributes:
        first: distance of the first day from the day.
        last: distance of the last day from the day, included.
        clipped: days before the calendar are left out; other days must exist.
    """

    first: int
    last: int
    clipped: bool = False

    def days(self, settings: Settings, day: str) -> list[str]:
        """Return the window's days; a clipped window leaves out days before the calendar."""
        around = self.around(day)
        return (
            [one for one in around if one >= calendar_start(settings).isoformat()]
            if self.clipped
            else around
        )

    def around(self, day: str) -> list[str]:
        """Return all days of the window, also those before the calendar."""
        first, last = (
            date.fromisoformat(day) + timedelta(days=distance)
            for distance in (self.first, self.last)
        )
        return days_between(first, last)

    def mapping(self) -> TimeWindowPartitionMapping:
        """Return Dagster's partition mapping from a day to the days of the window."""
        from dagster import TimeWindowPartitionMapping

        return TimeWindowPartitionMapping(
            start_offset=self.first,
            end_offset=self.last,
            allow_nonexistent_upstream_partitions=self.clipped,
        )

    def __or__(self, other: Window) -> Window:
        """Return the smallest window that contains both."""
        return Window(
            min(self.first, other.first), max(self.last, other.last), self.clipped or other.clipped
        )


# relative to an as-of day
TRAINING = Window(1 - WINDOW_DAYS, -VALIDATION_DAYS)
INNER = Window(1 - VALIDATION_DAYS - INNER_DAYS, -VALIDATION_DAYS)  # the last training days
VALIDATION = Window(1 - VALIDATION_DAYS, 0)
BEFORE_VALIDATION = Window(-VALIDATION_DAYS, -1)  # the day before each validation day
WHOLE_WINDOW = Window(1 - WINDOW_DAYS, 0)
# relative to a day
LOOK_BACK = Window(-LOOK_BACK_DAYS, 0, clipped=True)  # days that a day's features read
POPULARITY = Window(1 - POPULARITY_DAYS, 0, clipped=True)
RECENT_WINDOW = Window(1 - WINDOW_DAYS, 0, clipped=True)
DAY_BEFORE = Window(-1, -1)
#: Days that a fine-tune may replay, and the day itself. The older ones are chosen from the
#: champion's training days.
REPLAY = Window(1 - SIMULATED_DAYS, 0, clipped=True)


def train_days(as_of: str) -> list[str]:
    """Return the 9 days that end three days before the as-of day."""
    return TRAINING.around(as_of)


def validation_days(as_of: str) -> list[str]:
    """Return the last 3 days of the window, the as-of day included."""
    return VALIDATION.around(as_of)


def window_days(as_of: str) -> list[str]:
    """Return the 12 days of the window that ends with the as-of day."""
    return train_days(as_of) + validation_days(as_of)


def previous_day(day: str) -> str:
    """Return the day before a day."""
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()


def day_bounds(day: str) -> tuple[int, int]:
    """Return [start, end) of a day in unix seconds, UTC."""
    start = int(datetime.fromisoformat(day).replace(tzinfo=timezone.utc).timestamp())
    return start, start + 86_400


def day_with_history(settings: Settings, day: str) -> list[str]:
    """Return the days that a day's features read: LOOK_BACK_DAYS and the day.

    Days before the calendar are left out.
    """
    return recent_days(settings, day, 1 + LOOK_BACK_DAYS)


def recent_days(settings: Settings, day: str, days: int = POPULARITY_DAYS) -> list[str]:
    """Return up to ``days`` days that end with this day."""
    first = max(calendar_start(settings), date.fromisoformat(day) - timedelta(days=days - 1))
    return days_between(first, date.fromisoformat(day))


# --- Dagster partitions (Dagster is imported late: lib reads this module without it) --------------


@lru_cache(maxsize=1)
def daily() -> DailyPartitionsDefinition:
    """Return the daily partitions, up to today's, which receives today's events."""
    from dagster import DailyPartitionsDefinition

    return DailyPartitionsDefinition(
        start_date=calendar_start(get_settings()).isoformat(), timezone="UTC", end_offset=1
    )


@lru_cache(maxsize=1)
def as_of() -> DailyPartitionsDefinition:
    """Return the partitions by as-of day: each day that ends a whole window."""
    from dagster import DailyPartitionsDefinition

    return DailyPartitionsDefinition(start_date=first_as_of(get_settings()), timezone="UTC")
