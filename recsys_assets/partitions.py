"""Every calendar, window and partition mapping: the only place with dates.

Days are UTC. The first day is configured (``RECSYS_START_DAY``) or chosen once per home so that the demo's 14 days
end yesterday, and then kept, so that tomorrow's process sees the same partitions.
"""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

from recsys_assets.artifacts import write_json
from recsys_assets.columns import HISTORY_DAYS as LOOK_BACK_DAYS
from recsys_assets.settings import Settings, get_settings

if TYPE_CHECKING:
    from dagster import DailyPartitionsDefinition, TimeWindowPartitionMapping

HISTORY_DAYS = 14  # that the simulator writes
TRAIN_DAYS, VALIDATION_DAYS = 9, 3
WINDOW_DAYS = TRAIN_DAYS + VALIDATION_DAYS
#: Fine-tuning replays these many recent days and these many random older training days beside the new day.
REPLAY_RECENT_DAYS, REPLAY_OLDER_DAYS = 3, 2
POPULARITY_DAYS = 7  # that the online popularity counts


def today() -> date:
    return datetime.now(timezone.utc).date()


def calendar_start(settings: Settings) -> date:
    """First daily partition; chosen once and kept in ``home/calendar.json``."""
    if settings.start_day is not None:
        return settings.start_day
    path = settings.home / "calendar.json"
    if not path.exists():
        write_json(path, {"start_day": (today() - timedelta(days=HISTORY_DAYS)).isoformat()})
    return date.fromisoformat(json.loads(path.read_text())["start_day"])


def days_between(first: date, last: date) -> list[str]:
    """ISO days from first to last, both included."""
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def history_days(settings: Settings) -> list[str]:
    """The days that the simulator fills."""
    first = calendar_start(settings)
    return days_between(first, first + timedelta(days=HISTORY_DAYS - 1))


def first_as_of(settings: Settings) -> str:
    """The first day as of which a whole window exists."""
    return (calendar_start(settings) + timedelta(days=WINDOW_DAYS - 1)).isoformat()


def train_days(as_of: str) -> list[str]:
    """The 9 days that end three days before the as-of day."""
    last = date.fromisoformat(as_of) - timedelta(days=VALIDATION_DAYS)
    return days_between(last - timedelta(days=TRAIN_DAYS - 1), last)


def validation_days(as_of: str) -> list[str]:
    """The last 3 days of the window, the as-of day included."""
    last = date.fromisoformat(as_of)
    return days_between(last - timedelta(days=VALIDATION_DAYS - 1), last)


def window_days(as_of: str) -> list[str]:
    return train_days(as_of) + validation_days(as_of)


def previous_day(day: str) -> str:
    return (date.fromisoformat(day) - timedelta(days=1)).isoformat()


def day_bounds(day: str) -> tuple[int, int]:
    """[start, end) of a day in unix seconds, UTC."""
    start = int(datetime.fromisoformat(day).replace(tzinfo=timezone.utc).timestamp())
    return start, start + 86_400


def day_with_history(settings: Settings, day: str) -> list[str]:
    """The LOOK_BACK_DAYS before the day (those that the calendar has) and the day: what the features look back on."""
    return recent_days(settings, day, 1 + LOOK_BACK_DAYS)


def recent_days(settings: Settings, day: str, days: int = POPULARITY_DAYS) -> list[str]:
    """Up to `days` days that end with this one."""
    first = max(calendar_start(settings), date.fromisoformat(day) - timedelta(days=days - 1))
    return days_between(first, date.fromisoformat(day))


# --- Dagster's view of the same calendar (imported late: lib/ reads this module without Dagster) --------------------


@lru_cache(maxsize=1)
def daily() -> DailyPartitionsDefinition:
    """One partition a day; today's is open: what visitors do today lands in it."""
    from dagster import DailyPartitionsDefinition

    return DailyPartitionsDefinition(start_date=calendar_start(get_settings()).isoformat(), timezone="UTC", end_offset=1)


@lru_cache(maxsize=1)
def as_of() -> DailyPartitionsDefinition:
    """One partition a day as of which a whole training window exists."""
    from dagster import DailyPartitionsDefinition

    return DailyPartitionsDefinition(start_date=first_as_of(get_settings()), timezone="UTC")


def look_back_window() -> TimeWindowPartitionMapping:
    """Day → the days that ``day_with_history`` names."""
    from dagster import TimeWindowPartitionMapping

    # the calendar's first days have fewer days before them; later days check that theirs are there
    return TimeWindowPartitionMapping(start_offset=-LOOK_BACK_DAYS, end_offset=0, allow_nonexistent_upstream_partitions=True)


def training_window() -> TimeWindowPartitionMapping:
    """As-of day → its 9 training days."""
    from dagster import TimeWindowPartitionMapping

    return TimeWindowPartitionMapping(start_offset=1 - WINDOW_DAYS, end_offset=-VALIDATION_DAYS)


def whole_window() -> TimeWindowPartitionMapping:
    """As-of day → its 12 days."""
    from dagster import TimeWindowPartitionMapping

    return TimeWindowPartitionMapping(start_offset=1 - WINDOW_DAYS, end_offset=0)


def replay_window() -> TimeWindowPartitionMapping:
    """A new day → itself and what fine-tuning may replay."""
    from dagster import TimeWindowPartitionMapping

    return TimeWindowPartitionMapping(start_offset=1 - HISTORY_DAYS, end_offset=0, allow_nonexistent_upstream_partitions=True)
