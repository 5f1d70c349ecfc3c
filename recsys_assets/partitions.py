"""Every calendar, window and partition mapping: the only place with dates.

Days are UTC. The first day is configured (``RECSYS_START_DAY``) or chosen once per home so that the
demo's 14 days end yesterday, and then kept, so that tomorrow's process sees the same partitions.
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

SIMULATED_DAYS = 14  # that the simulator writes
TRAIN_DAYS, VALIDATION_DAYS = 9, 3
WINDOW_DAYS = TRAIN_DAYS + VALIDATION_DAYS
#: Fine-tuning replays these many recent days and these many random older training days beside the
#: new day.
REPLAY_RECENT_DAYS, REPLAY_OLDER_DAYS = 3, 2
POPULARITY_DAYS = 7  # that the online popularity counts
INNER_DAYS = 2  # of training, at their end, that baselines are tuned on


def today() -> date:
    return datetime.now(timezone.utc).date()


def calendar_start(settings: Settings) -> date:
    """First daily partition; chosen once and kept in ``home/calendar.json``."""
    if settings.start_day is not None:
        return settings.start_day
    path = settings.home / "calendar.json"
    if not path.exists():
        write_json(path, {"start_day": (today() - timedelta(days=SIMULATED_DAYS)).isoformat()})
    return date.fromisoformat(json.loads(path.read_text())["start_day"])


def days_between(first: date, last: date) -> list[str]:
    """ISO days from first to last, both included."""
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def history_days(settings: Settings) -> list[str]:
    """The days that the simulator fills."""
    first = calendar_start(settings)
    return days_between(first, first + timedelta(days=SIMULATED_DAYS - 1))


def first_as_of(settings: Settings) -> str:
    """The first day as of which a whole window exists."""
    return (calendar_start(settings) + timedelta(days=WINDOW_DAYS - 1)).isoformat()


@dataclass(frozen=True)
class Window:
    """Consecutive days around a day: of artifacts that an asset opens, and of Dagster's partition
    mapping alike.

    Attributes:
        first, last: distance from the day, both included.
        clipped: the calendar's first days have fewer days before them; later days check that theirs
            are there.
    """

    first: int
    last: int
    clipped: bool = False

    def days(self, settings: Settings, day: str) -> list[str]:
        """Return the days of the window around this one, less those before the calendar where it is
        clipped.
        """
        around = self.around(day)
        return (
            [one for one in around if one >= calendar_start(settings).isoformat()]
            if self.clipped
            else around
        )

    def around(self, day: str) -> list[str]:
        """Return all days of the window around this one, whether the calendar has them or not."""
        first, last = (
            date.fromisoformat(day) + timedelta(days=distance)
            for distance in (self.first, self.last)
        )
        return days_between(first, last)

    def mapping(self) -> TimeWindowPartitionMapping:
        """Return Dagster's mapping from a day to the same days."""
        from dagster import TimeWindowPartitionMapping

        return TimeWindowPartitionMapping(
            start_offset=self.first,
            end_offset=self.last,
            allow_nonexistent_upstream_partitions=self.clipped,
        )

    def __or__(self, other: Window) -> Window:
        """Return the smallest window that holds both."""
        return Window(
            min(self.first, other.first), max(self.last, other.last), self.clipped or other.clipped
        )


# seen from an as-of day
TRAINING = Window(1 - WINDOW_DAYS, -VALIDATION_DAYS)
INNER = Window(1 - VALIDATION_DAYS - INNER_DAYS, -VALIDATION_DAYS)  # the last training days
VALIDATION = Window(1 - VALIDATION_DAYS, 0)
BEFORE_VALIDATION = Window(-VALIDATION_DAYS, -1)  # the day before each of them
WHOLE_WINDOW = Window(1 - WINDOW_DAYS, 0)
# seen from a day
LOOK_BACK = Window(
    -LOOK_BACK_DAYS, 0, clipped=True
)  # with the day itself: what its features look back on
POPULARITY = Window(1 - POPULARITY_DAYS, 0, clipped=True)
RECENT_WINDOW = Window(1 - WINDOW_DAYS, 0, clipped=True)
DAY_BEFORE = Window(-1, -1)
#: What fine-tuning may replay, with the day itself; the older days among it are chosen out of the
#: champion's training days.
REPLAY = Window(1 - SIMULATED_DAYS, 0, clipped=True)


def train_days(as_of: str) -> list[str]:
    """The 9 days that end three days before the as-of day."""
    return TRAINING.around(as_of)


def validation_days(as_of: str) -> list[str]:
    """The last 3 days of the window, the as-of day included."""
    return VALIDATION.around(as_of)


def window_days(as_of: str) -> list[str]:
    return train_days(as_of) + validation_days(as_of)


def previous_day(day: str) -> str:
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()


def day_bounds(day: str) -> tuple[int, int]:
    """[start, end) of a day in unix seconds, UTC."""
    start = int(datetime.fromisoformat(day).replace(tzinfo=timezone.utc).timestamp())
    return start, start + 86_400


def day_with_history(settings: Settings, day: str) -> list[str]:
    """The LOOK_BACK_DAYS before the day (those that the calendar has) and the day: what the
    features look back on.
    """
    return recent_days(settings, day, 1 + LOOK_BACK_DAYS)


def recent_days(settings: Settings, day: str, days: int = POPULARITY_DAYS) -> list[str]:
    """Up to `days` days that end with this one."""
    first = max(calendar_start(settings), date.fromisoformat(day) - timedelta(days=days - 1))
    return days_between(first, date.fromisoformat(day))


# --- Dagster's view of the same calendar (imported late: lib/ reads this module without Dagster) --


@lru_cache(maxsize=1)
def daily() -> DailyPartitionsDefinition:
    """One partition a day; today's is open: what visitors do today lands in it."""
    from dagster import DailyPartitionsDefinition

    return DailyPartitionsDefinition(
        start_date=calendar_start(get_settings()).isoformat(), timezone="UTC", end_offset=1
    )


@lru_cache(maxsize=1)
def as_of() -> DailyPartitionsDefinition:
    """One partition a day as of which a whole training window exists."""
    from dagster import DailyPartitionsDefinition

    return DailyPartitionsDefinition(start_date=first_as_of(get_settings()), timezone="UTC")
