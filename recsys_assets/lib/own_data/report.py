"""What an ingest says of itself: ``landing/ingested.json``, and in plain words what is left out and
what to mend.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from recsys_assets.columns import CLICK, DEVICE_TYPE, EVENT_TYPE, EXPOSURE_EVENTS, IMPRESSION
from recsys_assets.lib.landing.zone import REPORT_FILE
from recsys_assets.lib.own_data.log import LogSummary
from recsys_assets.lib.own_data.mapping import DUPLICATE, NOT_IN_CATALOGUE
from recsys_assets.partitions import WINDOW_DAYS, days_between

_EXAMPLES = 5


def read_report(landing: Path) -> dict[str, Any] | None:
    """``ingested.json``; None where nothing was ingested."""
    path = landing / REPORT_FILE
    return json.loads(path.read_text()) if path.exists() else None


def log_entry(summary: LogSummary) -> dict[str, Any]:
    """A log's part of the report."""
    return {
        "mapping": summary.mapping,
        "columns_not_taken": summary.not_taken,
        "empty_files": summary.empty_files,
        "times": summary.times,
        "rows_read": summary.read,
        "accepted": summary.accepted,
        "rejected": summary.rejected,
        "days": summary.days,
        "users": len(summary.users),
        "items": len(summary.items),
        "events": dict(summary.events.most_common()),
        "left_out": _left_out(summary),
        "remedies": _remedies(summary),
    }


def _left_out(log: LogSummary) -> list[str]:
    said = []
    exposures = sum(log.events[kind] for kind in EXPOSURE_EVENTS)
    if EVENT_TYPE not in log.mapping and CLICK not in log.mapping:
        said.append(
            "positives only (no event_type, no click): every row is taken as a View with click=1; "
            "the log says "
            "nothing of items that were shown and not clicked, so the ranker has no logged "
            "negatives and the "
            "click rate is 1"
        )
    elif not exposures:
        said.append(
            "no View and no Impression: there is no exposure to learn from; say which event is the "
            "click with "
            "--event-type <word>=View"
        )
    elif not log.events[IMPRESSION]:
        said.append("no Impression: the ranker has no logged negatives and the click rate is 1")
    if log.mapping and DEVICE_TYPE not in log.mapping:
        said.append(
            "no device_type: the device is unknown ('-1') in every row, so lists cannot change "
            "with it"
        )
    elif log.without_device:
        said.append(f"{log.without_device:,} rows without a device_type: unknown ('-1') there")
    if log.accepted and not log.time_of_day:
        said.append(
            "no time of day (every event at midnight): the hour says nothing, and within a day no "
            "event comes "
            "before another"
        )
    if log.empty_files:
        said.append(f"{len(log.empty_files)} empty files: {', '.join(log.empty_files[:_EXAMPLES])}")
    return said


def _remedies(log: LogSummary) -> list[str]:
    said = []
    for name, option, example in (
        (EVENT_TYPE, "--event-type", "View"),
        (DEVICE_TYPE, "--device", "mobile"),
    ):
        if words := log.unknown.get(name):
            listed = ", ".join(
                f"{word or 'empty'!r} ({count:,})" for word, count in words.most_common(_EXAMPLES)
            )
            more = f" and {len(words) - _EXAMPLES} more" if len(words) > _EXAMPLES else ""
            said.append(
                f"{name} has words that are not known: {listed}{more}; map each with {option} "
                f"'{words.most_common(1)[0][0]}={example}' and start with --replace"
            )
    if log.rejected.get(NOT_IN_CATALOGUE):
        said.append("give a catalogue that has the missing items, then the same log again")
    if log.rejected.get(DUPLICATE):
        said.append(
            "an event counts once a day: the same event_id, or, where the log has none, the same "
            "user, item, "
            "time, event type and device"
        )
    return said


def tables_left_out(users: Mapping[str, int], items: Mapping[str, int], pictures: int) -> list[str]:
    """users, items: {"rows", "derived"}, derived being those of which only the log speaks."""
    said = []
    if items["rows"] and items["derived"] == items["rows"]:
        said.append(
            "no catalogue: items have no name, text or picture, category 'unknown' and price 1.0, "
            "so only "
            "behaviour tells them apart"
        )
    elif items["derived"]:
        said.append(
            f"{items['derived']:,} of {items['rows']:,} items are known from a log only: category "
            "'unknown', price 1.0"
        )
    if items["rows"] and not pictures:
        said.append("no pictures: give the folder with --images")
    if users["rows"] and users["derived"] == users["rows"]:
        said.append("no users' table: age and gender are unknown for every visitor")
    elif users["derived"]:
        said.append(
            f"{users['derived']:,} of {users['rows']:,} users are known from a log only: age and "
            "gender unknown"
        )
    return said


def calendar_entry(days: Mapping[str, int]) -> dict[str, Any] | None:
    """First and last day, days without rows, and what full training makes of it; None without a
    day.
    """
    if not days:
        return None
    first, last = min(days), max(days)
    every = days_between(date.fromisoformat(first), date.fromisoformat(last))
    missing = [day for day in every if day not in days]
    said = (
        [
            f"{len(missing)} days between {first} and {last} have no rows, and a window that holds "
            "one cannot be trained: "
            f"{', '.join(missing[:_EXAMPLES])}{' …' if len(missing) > _EXAMPLES else ''}; begin "
            "behind them with "
            "--first-day and --replace"
        ]
        if missing
        else []
    )
    if len(every) < WINDOW_DAYS:
        said.append(f"full training needs {WINDOW_DAYS} days in a row; the log has {len(every)}")
    return {
        "start_day": first,
        "last_day": last,
        "missing_days": missing,
        "notes": said,
        "as_of": every[WINDOW_DAYS - 1] if len(every) >= WINDOW_DAYS else None,
    }


def total_rejected(report: Mapping[str, Any]) -> dict[str, int]:
    """Reason → rows over all sources of a report."""
    counts: Counter[str] = Counter()
    for source in report["sources"]:
        counts.update(source["rejected"])
    return dict(counts.most_common())
