"""Define the settings of schedules and promotion, and read times of day."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

#: Weekdays in cron's order: Sunday is 0.
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")


class ScheduleSettings(BaseSettings):
    """Holds the times of the schedules, in the shop's time zone, and who promotes."""

    schedule_catalogue: str = Field(
        "02:00",
        description="Time of day at which the schedule catalogue_daily looks for a changed "
        "catalogue.",
    )
    schedule_ingest: str = Field(
        "02:30", description="Time of day at which the schedule ingest_daily looks for new days."
    )
    schedule_refresh: str = Field(
        "04:00",
        description="Time of day at which the schedule refresh_daily writes the newest day's "
        "features to the online store.",
    )
    schedule_fine_tune: str = Field(
        "04:30",
        description="Time of day at which the schedule fine_tune_daily fine-tunes the champion on "
        "new days.",
    )
    schedule_training: str = Field(
        "Sunday 06:00",
        description="Weekday and time at which the schedule train_weekly starts a full training.",
    )
    schedule_evaluation: str = Field(
        "Sunday 18:00",
        description="Weekday and time at which the schedule evaluate_weekly writes the report of "
        "the newest full training.",
    )
    promotion: Literal["auto", "manual"] = Field(
        "auto",
        description="auto: a fine-tune promotes its release, and the sensor passed_release "
        "promotes any other release that passed its gate. manual: every release waits until "
        "someone materialises serving/champion.",
    )

    @field_validator(
        "schedule_catalogue", "schedule_ingest", "schedule_refresh", "schedule_fine_tune"
    )
    @classmethod
    def _time_of_day(cls, value: str, info: ValidationInfo) -> str:
        return _checked(value, f"RECSYS_{str(info.field_name).upper()}", weekly=False)

    @field_validator("schedule_training", "schedule_evaluation")
    @classmethod
    def _time_of_week(cls, value: str, info: ValidationInfo) -> str:
        return _checked(value, f"RECSYS_{str(info.field_name).upper()}", weekly=True)


def _checked(value: str, variable: str, *, weekly: bool) -> str:
    """Return a time in its full form, or raise ValueError that names the variable."""
    words = value.split()
    days = [_weekday(word) for word in words[:-1]]
    time = _TIME.fullmatch(words[-1]) if words else None
    if time is None or None in days or len(days) != int(weekly):
        form = (
            f'a weekday and a time of day, such as "{WEEKDAYS[0]} 06:00" '
            f"({', '.join(WEEKDAYS)}; 00:00 to 23:59)"
            if weekly
            else 'a time of day from 00:00 to 23:59, such as "02:30"'
        )
        raise ValueError(
            f"{variable} must be {form}, in the shop's time zone; got {value!r}. Set it to such a "
            "value, or remove it to use the default"
        )
    return " ".join([*(day for day in days if day), f"{int(time[1]):02d}:{time[2]}"])


def _weekday(word: str) -> str | None:
    """Return the weekday of a name or of its first three letters; None if there is none."""
    found = [day for day in WEEKDAYS if word.lower() in (day.lower(), day[:3].lower())]
    return found[0] if found else None


def cron(time: str) -> str:
    """Return the cron expression of a time of day or of a week.

    >>> cron("02:30"), cron("Sunday 06:00")
    ('30 2 * * *', '0 6 * * 0')
    """
    *day, clock = time.split()
    hour, minute = clock.split(":")
    return f"{int(minute)} {int(hour)} * * {WEEKDAYS.index(day[0]) if day else '*'}"


def later(time: str, hours: int) -> str:
    """Return the time of day some hours later, on the same or on the next day.

    >>> later("22:30", 6)
    '04:30'
    """
    hour, minute = time.split(":")
    return f"{(int(hour) + hours) % 24:02d}:{minute}"
