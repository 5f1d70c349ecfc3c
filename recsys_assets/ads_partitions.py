"""Define the calendar of the ads log: its days, and the windows around a day.

The ads log has a first day of its own, which `recsys ingest-ads` and `recsys simulate-ads` store in
``home/calendar.json``. Its days are those of the shop's time zone.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

from recsys_assets.files import write_json
from recsys_assets.partitions import CALENDAR_FILE, Window, calendar_start, stored_calendar
from recsys_assets.partitions import time_zone as zone_of
from recsys_assets.settings import Settings, get_settings

if TYPE_CHECKING:
    from dagster import DailyPartitionsDefinition

_KEY = "ads_start_day"


def ads_start(settings: Settings) -> date:
    """Return the first day of the ads log; without one, that of the shop."""
    if settings.ads_start_day is not None:
        return settings.ads_start_day
    stored = stored_calendar(settings).get(_KEY)
    return date.fromisoformat(stored) if stored else calendar_start(settings)


def begin_with(settings: Settings, day: str) -> None:
    """Let the ads log begin with this day, unless it begins earlier already."""
    before = stored_calendar(settings)
    if day < str(before.get(_KEY, "9999-12-31")):
        write_json(settings.home / CALENDAR_FILE, {**before, _KEY: day})


#: Days that a day's features are compared with.
ADS_BASELINE = Window(
    lambda settings: -settings.ads_baseline_days, -1, clipped=True, calendar=ads_start
)
#: Days that the model of an as-of day learns; it is judged on the as-of day.
ADS_TRAINING = Window(
    lambda settings: -settings.ads_train_days, -1, clipped=True, calendar=ads_start
)


@lru_cache(maxsize=1)
def ads_days() -> DailyPartitionsDefinition:
    """Return the days of the ads log as partitions, up to today's."""
    from dagster import DailyPartitionsDefinition

    settings = get_settings()
    return DailyPartitionsDefinition(
        start_date=ads_start(settings).isoformat(), timezone=zone_of(settings), end_offset=1
    )
