"""Convert moments to the wall clock of a time zone.

Moments are unix seconds everywhere. *Local seconds* are the seconds of the zone's wall clock since
1970-01-01 00:00 on that clock: a moment plus the zone's offset at that moment. So local seconds //
86,400 is the number of the local day, and hour and weekday follow in the same way. This module
imports only the standard library, so that all three environments can import it.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

UTC = "UTC"
_FIRST, _LAST = 1900, 2100  # years with known offsets
_DAY = 86_400


class UnknownTimeZone(ValueError):
    """Raised for a name that is no IANA time zone."""


@cache
def time_zone(name: str) -> tzinfo:
    """Return an IANA time zone.

    Raises:
        UnknownTimeZone: there is no such zone; the message names similar ones.
    """
    if name == UTC:
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        word = name.rsplit("/", 1)[-1].lower().replace(" ", "_")
        near = [one for one in sorted(available_timezones()) if word and word in one.lower()][:5]
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UnknownTimeZone(
            f"{name!r} is no IANA time zone such as Europe/Berlin or America/New_York{hint}"
        ) from error


@cache
def offsets(zone: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return when the zone's offset from UTC changes, and to what.

    Returns:
        N moments, unix seconds, ascending, and the offset from each on, seconds. The first one is
        that of all earlier moments too.

    >>> moments, seconds = offsets("Europe/Berlin")
    >>> seconds[bisect_right(moments, 1_767_225_600) - 1]  # 2026-01-01
    3600
    """
    known = time_zone(zone)

    def offset(moment: int) -> int:
        there = datetime.fromtimestamp(moment, known).utcoffset()
        return 0 if there is None else int(there.total_seconds())

    begin = int(datetime(_FIRST, 1, 1, tzinfo=timezone.utc).timestamp())
    end = int(datetime(_LAST, 1, 1, tzinfo=timezone.utc).timestamp())
    moments, seconds = [begin], [offset(begin)]
    if zone == UTC:
        return tuple(moments), tuple(seconds)
    # zones change at most a few times per year, and never twice within one week
    for start in range(begin, end, 7 * _DAY):
        low, high = start, start + 7 * _DAY
        if offset(high) == seconds[-1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == seconds[-1] else (low, middle)
        moments.append(high)
        seconds.append(offset(high))
    return tuple(moments), tuple(seconds)


def to_local(moment: int, zone: str) -> int:
    """Return the local seconds of a moment.

    >>> to_local(0, "Asia/Tokyo")
    32400
    """
    moments, seconds = offsets(zone)
    return moment + seconds[max(0, bisect_right(moments, moment) - 1)]


def local_seconds(moments: Any, zone: str) -> Any:
    """Return the local seconds of many moments.

    It uses operators only, so that it takes arrays of numpy and series of pandas alike.

    Args:
        moments: int64 [N], unix seconds.
        zone: IANA name.

    Returns:
        int64 [N], of the same type.
    """
    if zone == UTC or not len(moments):
        return moments
    at, seconds = offsets(zone)
    first, last = (max(0, bisect_right(at, int(one)) - 1) for one in (moments.min(), moments.max()))
    local = moments + seconds[first]
    for change in range(first + 1, last + 1):  # at most a few per year
        local = local + (moments >= at[change]) * (seconds[change] - seconds[change - 1])
    return local


def local_days(moments: Any, zone: str) -> Any:
    """Return the number of the local day of many moments; see ``local_seconds``."""
    return local_seconds(moments, zone) // _DAY


@cache
def wall_clock_changes(zone: str) -> tuple[int, ...]:
    """Return the local seconds from which each offset of ``offsets`` holds for a wall clock.

    Where the clock is set back, a local time happens twice, and the first one counts. Where it is
    set forward, a local time does not exist, and it is moved forward by the hour that is left out.
    """
    moments, seconds = offsets(zone)
    return (
        moments[0] + seconds[0],
        *(
            moment + max(before, after)
            for moment, before, after in zip(moments[1:], seconds[:-1], seconds[1:], strict=True)
        ),
    )


def from_local(local: int, zone: str) -> int:
    """Return the moment of local seconds, by the rule of ``wall_clock_changes``.

    >>> from_local(32_400, "Asia/Tokyo")
    0
    """
    _, seconds = offsets(zone)
    return local - seconds[max(0, bisect_right(wall_clock_changes(zone), local) - 1)]


def day_of(moment: int, zone: str) -> str:
    """Return the local day of a moment, ISO.

    >>> day_of(1_767_225_599, "UTC"), day_of(1_767_225_599, "Europe/Berlin")
    ('2025-12-31', '2026-01-01')
    """
    return day_name(to_local(moment, zone) // _DAY)


def day_number(day: str) -> int:
    """Return the number of an ISO day: days since 1970-01-01."""
    return (date.fromisoformat(day) - date(1970, 1, 1)).days


def day_name(number: int) -> str:
    """Return the ISO day of a number of ``day_number``."""
    return (date(1970, 1, 1) + timedelta(days=number)).isoformat()


def day_bounds(day: str, zone: str) -> tuple[int, int]:
    """Return [start, end) of a local day, unix seconds.

    A day has 23 or 25 hours where daylight saving begins or ends.

    >>> start, end = day_bounds("2026-03-29", "Europe/Berlin")
    >>> (end - start) // 3600
    23
    """
    return _start_of(day_number(day), zone), _start_of(day_number(day) + 1, zone)


def _start_of(number: int, zone: str) -> int:
    """Return the first moment of a local day."""
    midnight = number * _DAY
    moments, seconds = offsets(zone)
    near = bisect_right(moments, midnight)
    # the offsets in force around midnight; where the clock jumps over it, the jump is the start
    for place in range(max(0, near - 2), min(len(moments), near + 2)):
        begin = moments[place] if place else -(1 << 62)
        until = moments[place + 1] if place + 1 < len(moments) else 1 << 62
        moment = midnight - seconds[place]
        if moment < until:
            return max(moment, begin)
    return midnight - seconds[-1]
