"""Ingest the files of a case and compare the landing zone with the right reading."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC as UTC_ZONE
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl

from recsys_assets.bench.files.case import FileCase, Reading, Refusal
from recsys_assets.columns import ITEM_ID, TIMESTAMP
from recsys_assets.lib.landing import zone
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.bring import Request, ingest
from recsys_assets.lib.own_data.mapping import LogRules
from recsys_assets.lib.quality.landing_day import read_landing_day
from recsys_assets.local_time import UTC

#: 2026-01-30 18:00 UTC; later events are in the future.
NOW = int(datetime(2026, 1, 30, 18, tzinfo=UTC_ZONE).timestamp())
_PATHS = ("catalogue", "images")

Ended = Literal["right", "refused", "wrong"]


@dataclass(frozen=True)
class CaseVerdict:
    """Holds how a case ended; ``why`` is empty unless it is wrong."""

    ended: Ended
    why: str
    seconds: float


def judge(case: FileCase, folder: Path) -> CaseVerdict:
    """Write the files of a case, ingest them and compare.

    Any other exception than IngestError is wrong, and so is a refusal that does not name the
    remedy.

    Args:
        case: the files and their right reading.
        folder: an empty folder for the files and the landing zone.
    """
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content(path)
    began = time.monotonic()
    try:
        request = request_of(case, folder)
        report = ingest(folder / "landing", request, now=NOW, start_day=None)
    except IngestError as error:
        return _refused(case.expected, str(error), time.monotonic() - began)
    except Exception as error:  # noqa: BLE001 - a crash is the result that the bench reports
        why = f"{type(error).__name__}: {error}"
        return CaseVerdict("wrong", why, time.monotonic() - began)
    seconds = time.monotonic() - began
    if isinstance(case.expected, Refusal):
        return CaseVerdict("wrong", "accepted without a word", seconds)
    faults = _faults(case, case.expected, folder / "landing", report)
    return CaseVerdict("wrong" if faults else "right", "; ".join(faults), seconds)


def request_of(case: FileCase, folder: Path) -> Request:
    """Return the request of a case whose files are in a folder."""
    source = folder / (case.source or next(iter(case.files)))
    options = {
        name: folder / str(value) if name in _PATHS else value
        for name, value in case.options.items()
    }
    if case.kind == "log":
        table = {name: options.pop(name) for name in _PATHS if name in options}
        return Request([str(source)], LogRules(**options), **table)  # type: ignore[arg-type]
    table = {"catalogue" if case.kind == "items" else "users": source}
    return Request(**table, **options)  # type: ignore[arg-type]


def _refused(expected: Reading | Refusal, message: str, seconds: float) -> CaseVerdict:
    if isinstance(expected, Reading):
        return CaseVerdict("wrong", f"refused: {message}", seconds)
    lacking = [part for part in expected.says if part not in message]
    if lacking:
        return CaseVerdict("wrong", f"refused without {lacking}: {message}", seconds)
    return CaseVerdict("refused", "", seconds)


def _faults(case: FileCase, expected: Reading, landing: Path, report: dict[str, Any]) -> list[str]:
    found = landed(case, landing)
    rows = list(found.select(expected.columns).iter_rows())
    if expected.places is not None:
        rows = [rows[place] for place in expected.places if place < len(rows)]
    faults = []
    if rows != [tuple(row) for row in expected.rows]:
        faults.append(f"read {rows[:8]}, not {list(expected.rows)[:8]}")
    rejected = sum(sum(source["rejected"].values()) for source in report["sources"])
    if rejected != expected.rejected:
        faults.append(f"{rejected} rows rejected, not {expected.rejected}")
    said = json.dumps(report, ensure_ascii=False)
    faults += [f"the report does not say {part!r}" for part in expected.says if part not in said]
    return faults


def landed(case: FileCase, landing: Path) -> pl.DataFrame:
    """Return the landed table of a case, in the order in which the graph reads it."""
    if case.kind == "log":
        days = sorted(folder.name for folder in (landing / zone.INTERACTIONS_FOLDER).iterdir())
        shop = str(case.options.get("time_zone", UTC))
        frame = pl.concat(read_landing_day(landing, day, zone=shop).frame for day in days)
        moment = pl.from_epoch(TIMESTAMP).dt.strftime("%Y-%m-%dT%H:%M:%S")
        return frame.with_columns(time=moment)
    if case.kind == "users":
        return pl.read_parquet(landing / zone.USERS_FILE)
    items = pl.read_parquet(landing / zone.ITEMS_FILE)
    tags: dict[str, list[str]] = {}
    if (landing / zone.TAGS_FILE).exists():
        for item, tag in pl.read_parquet(landing / zone.TAGS_FILE).iter_rows():
            tags.setdefault(item, []).append(tag)
    kept = [tuple(tags.get(item, ())) for item in items[ITEM_ID]]
    return items.with_columns(tags=pl.Series(kept, dtype=pl.Object))
