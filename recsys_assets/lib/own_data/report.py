"""Build the report of an ingest, ``landing/ingested.json``.

It states in plain words what the models cannot learn from the data, and how to correct it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Literal, TypedDict

from recsys_assets.columns import CLICK, DEVICE_TYPE, EVENT_TYPE, EXPOSURE_EVENTS, IMPRESSION
from recsys_assets.lib.landing.zone import REPORT_FILE, IngestError
from recsys_assets.lib.own_data.headers import suggestions
from recsys_assets.lib.own_data.log_summary import LogSummary
from recsys_assets.lib.own_data.mapping import (
    DUPLICATE,
    MALFORMED,
    NOT_IN_CATALOGUE,
    UNREADABLE_TIME,
)
from recsys_assets.lib.own_data.words import likely_event, takes_back
from recsys_assets.partitions import days_between

_EXAMPLES = 5
_OPTIONAL = (EVENT_TYPE, DEVICE_TYPE, CLICK)
STRAY_QUOTES = "stray quotes, taken as text"


class TableSize(TypedDict):
    """Counts the rows of a table; ``derived`` are those that only a log names."""

    rows: int
    derived: int


class Calendar(TypedDict):
    """Describes the days of all logs; ``as_of`` is the newest day to train as of."""

    start_day: str
    last_day: str
    missing_days: list[str]
    notes: list[str]
    as_of: str | None


class _Entry(TypedDict):
    """Has the keys that every source has beside ``table``."""

    digest: str
    files: list[str]
    mapping: dict[str, str]
    rows_read: int
    accepted: int
    rejected: dict[str, int]


class TableEntry(_Entry):
    """Describes a catalogue or a users' table."""

    table: Literal["items", "users"]
    adjusted: dict[str, int]
    notes: list[str]


class PicturesEntry(_Entry):
    """Describes a folder of pictures."""

    table: Literal["images"]
    unreadable: list[str]
    ambiguous: list[str]  # names that several files have: none is taken
    items_without: int


class LogEntry(_Entry):
    """Describes a log."""

    table: Literal["interactions"]
    content: str  # digest of the files alone
    options: dict[str, object]
    against: str | None  # digest of the catalogue's ids, if rows were compared with them
    columns_not_taken: list[str]
    empty_files: list[str]
    times: list[str]
    notes: list[str]  # what was detected in the files
    words: dict[str, str]  # the log's word → our event type
    adjusted: dict[str, int]
    days: dict[str, int]
    users: int
    items: int
    events: dict[str, int]
    left_out: list[str]
    remedies: list[str]


SourceEntry = TableEntry | PicturesEntry | LogEntry


class IngestReport(TypedDict):
    """Holds the content of ``ingested.json``."""

    version: int
    sources: list[SourceEntry]
    users: TableSize
    items: TableSize
    pictures: int
    days: dict[str, int]
    calendar: Calendar | None
    left_out: list[str]


def read_report(landing: Path) -> IngestReport | None:
    """Return the content of ``ingested.json``; None if nothing was ingested."""
    path = landing / REPORT_FILE
    if not path.exists():
        return None
    report: IngestReport = json.loads(path.read_text())
    return report


def log_entry(
    summary: LogSummary,
    files: Sequence[Path],
    *,
    digest: str,
    content: str,
    options: dict[str, object],
    against: str | None,
) -> LogEntry:
    """Return a log's part of the report."""
    return {
        "table": "interactions",
        "digest": digest,
        "content": content,
        "options": options,
        "against": against,
        "files": list(map(str, files)),
        "mapping": summary.mapping,
        "columns_not_taken": summary.not_taken,
        "empty_files": summary.empty_files,
        "times": summary.times,
        "notes": list(summary.notes),
        "words": summary.words,
        "adjusted": {STRAY_QUOTES: summary.literal} if summary.literal else {},
        "rows_read": summary.read,
        "accepted": summary.accepted,
        "rejected": summary.rejected,
        "days": summary.days,
        "users": len(summary.users),
        "items": len(summary.items),
        "events": dict(summary.events.most_common()),
        "left_out": _left_out(summary),
        "remedies": remedies(summary),
    }


def _left_out(log: LogSummary) -> list[str]:
    said = []
    exposures = sum(log.events[kind] for kind in EXPOSURE_EVENTS)
    if EVENT_TYPE not in log.mapping and CLICK not in log.mapping:
        said.append(
            "positives only (no event_type, no click): every row is taken as a View with click=1; "
            "the log has no items that were shown and not clicked, so the ranker has no logged "
            "negatives and the click rate is 1"
        )
    elif not exposures:
        said.append(
            "no View and no Impression: there is no exposure to learn from; name the log's word "
            "for a click with --event-type <word>=View"
        )
    elif not log.events[IMPRESSION]:
        said.append("no Impression: the ranker has no logged negatives and the click rate is 1")
    if log.mapping and DEVICE_TYPE not in log.mapping:
        said.append(
            "no device_type: the device is unknown ('-1') in every row, so lists cannot change "
            "with it"
        )
    elif log.without_device:
        said.append(
            f"{log.without_device:,} rows have no device_type: their device is unknown ('-1')"
        )
    if log.accepted and not log.time_of_day:
        said.append(
            "no time of day (every event is at midnight): nothing can be learnt from the hour, and "
            "the events of a day have no order"
        )
    if log.empty_files:
        said.append(f"{len(log.empty_files)} empty files: {', '.join(log.empty_files[:_EXAMPLES])}")
    return said


def remedies(log: LogSummary, again: str = "and ingest again with --replace") -> list[str]:
    """Return, as sentences, how to get rejected rows of a log accepted.

    Args:
        log: the log.
        again: what to do after the options were changed.
    """
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
            said_by = words.most_common(_EXAMPLES) if name == EVENT_TYPE else []
            maps = [
                f"{option} '{word}={kind}'" for word, _ in said_by if (kind := likely_event(word))
            ]
            mapped = next(
                (
                    one
                    for one, _ in words.most_common()
                    if name != EVENT_TYPE or not takes_back(one)
                ),
                None,
            )
            if mapped is None:
                said.append(
                    f"{name} has words of events that take another one back: {listed}{more}; they "
                    f"are left out. Map one only if it means one of ours ({option} yours=ours)"
                )
                continue
            how = (
                f"likely {' '.join(maps)}" if maps else f"for example {option} '{mapped}={example}'"
            )
            said.append(
                f"{name} has unknown words: {listed}{more}; map each of them that is one of ours "
                f"({how}) {again}"
            )
    if log.rejected.get(MALFORMED):
        said.append(
            "some lines have more or fewer fields than the header, or another charset: they are in "
            "the quarantine; quote fields that hold the delimiter, or export with another one"
        )
    if log.rejected.get(NOT_IN_CATALOGUE):
        form = f"; {log.form_of_ids}: write both in one form" if log.form_of_ids else ""
        said.append(
            "some rows name an item that the catalogue lacks: ingest a catalogue that has it, then "
            f"the same log again{form}"
        )
    if log.rejected.get(UNREADABLE_TIME):
        said.append(
            "some times cannot be read: name their form with --time-format (for example "
            "'%d/%m/%Y %H:%M:%S')"
        )
    if log.ahead:
        said.append(
            f"{log.ahead:,} rows lie up to {log.most_ahead / 3_600:.1f} hours in the future: if "
            "the times are local ones, name the shop's zone with --time-zone (for example "
            f"--time-zone Europe/Berlin) {again}"
        )
    likely = suggestions(log.not_taken, log.mapping, _OPTIONAL, "--map")
    if likely:
        said.append(f"some columns that were not taken look like ours: {' '.join(likely)}")
    if log.rejected.get(DUPLICATE):
        said.append(
            "some rows repeat an event, and an event counts once per day; nothing has to be done, "
            "unless they are different events: then give each one its own event_id (without "
            "event_id, rows of the same user, item, time, event type and device are one event)"
        )
    return said


def tables_left_out(users: TableSize, items: TableSize, *, pictures: int, priced: int) -> list[str]:
    """Return, as sentences, what is unknown of items, users and pictures.

    Args:
        users: size of the users' table.
        items: size of the catalogue.
        pictures: number of items with a picture.
        priced: number of items with a price.
    """
    said = []
    unpriced = items["rows"] - items["derived"] - priced
    if items["rows"] and items["derived"] == items["rows"]:
        said.append(
            "no catalogue: items have no name, text, picture or price, and category 'unknown', so "
            "only behaviour tells them apart"
        )
    elif items["derived"]:
        said.append(
            f"{items['derived']:,} of {items['rows']:,} items are known from a log only: they have "
            "category 'unknown' and no price"
        )
    if unpriced:
        said.append(
            f"{unpriced:,} of {items['rows'] - items['derived']:,} items of the catalogue have no "
            "price: none is shown, and the models take the mean of the known prices"
            if priced
            else "no prices: no item of the catalogue has one, so none is shown or learnt from"
        )
    if items["rows"] and not pictures:
        said.append("no pictures: give the folder with --images")
    if users["rows"] and users["derived"] == users["rows"]:
        said.append(
            "no users' table: age and gender are unknown for every visitor; give a table with "
            "--users"
        )
    elif users["derived"]:
        said.append(
            f"{users['derived']:,} of {users['rows']:,} users are known from a log only: their age "
            "and gender are unknown"
        )
    return said


def calendar_entry(days: Mapping[str, int], today: str) -> Calendar | None:
    """Return the calendar of the days that have rows; None without a day.

    Args:
        days: day → rows.
        today: ISO; it is not over, so it cannot be trained yet.
    """
    if not days:
        return None
    first, last = min(days), max(days)
    every = days_between(date.fromisoformat(first), date.fromisoformat(last))
    missing = [day for day in every if day not in days]
    said = (
        [
            f"{len(missing)} of {len(every)} days have no rows: {', '.join(missing[:_EXAMPLES])}"
            f"{' …' if len(missing) > _EXAMPLES else ''}; they are days without events"
        ]
        if missing
        else []
    )
    closed = [day for day in every if day < today]
    if not closed:
        said.append("no day is over yet: the first training is possible tomorrow")
    return {
        "start_day": first,
        "last_day": last,
        "missing_days": missing,
        "notes": said,
        "as_of": closed[-1] if closed else None,
    }


def check_calendar(calendar: Calendar | None, start_day: date | None) -> None:
    """Refuse a log whose first day is not the day that the setting names.

    Raises:
        IngestError: both days are known and differ.
    """
    if calendar and start_day and (first := calendar["start_day"]) != start_day.isoformat():
        raise IngestError(
            f"the log begins on {first}, and RECSYS_START_DAY is {start_day}; nothing was changed. "
            f"Set RECSYS_START_DAY={first}, or leave out earlier rows: --first-day {start_day}"
        )
