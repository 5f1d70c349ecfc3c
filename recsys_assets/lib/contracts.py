"""What a landing file must look like, and the reader that accepts nothing else.

A failure is (file, column, check, count): enough to find the rows without opening the code.

Landing zone: ``catalogue/items.parquet``, ``catalogue/images.parquet``, ``users/users.parquet`` and
``interactions/<YYYY-MM-DD>/*.parquet`` (one file of the simulator, any number of the event consumer).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from recsys_assets.columns import (
    AGE,
    CATEGORY_L1,
    CATEGORY_L2,
    CLICK,
    DEVICE_TYPE,
    DEVICES,
    EVENT_ID,
    EVENT_TYPE,
    EVENT_TYPES,
    GENDER,
    GENDERS,
    ITEM_GENDER,
    ITEM_GENDERS,
    ITEM_ID,
    MISSING,
    PRICE,
    RAW_INTERACTIONS,
    TIMESTAMP,
    USER_ID,
)
from recsys_assets.partitions import day_bounds

ITEMS_FILE, IMAGES_FILE = "catalogue/items.parquet", "catalogue/images.parquet"
USERS_FILE = "users/users.parquet"
INTERACTIONS_FOLDER, TRUTH_FOLDER = "interactions", "truth"

#: Every other column must be filled.
NULLABLE = frozenset({AGE})
_NOT_EMPTY = (EVENT_ID, USER_ID, ITEM_ID, CATEGORY_L1, CATEGORY_L2)
_VALUES = {
    DEVICE_TYPE: (*DEVICES, MISSING),
    EVENT_TYPE: EVENT_TYPES,
    CLICK: (0, 1),
    GENDER: (*GENDERS, MISSING),
    ITEM_GENDER: ITEM_GENDERS,
}


class ContractViolation(ValueError):
    """A table breaks its contract; the message names file, column, check and count."""


class LandingMissing(FileNotFoundError):
    """The landing zone holds no file for a day."""


@dataclass(frozen=True)
class Failure:
    file: str
    column: str  # "" where the whole file is meant
    check: str
    count: int  # of rows, or 1 where the whole file or column is meant

    def __str__(self) -> str:
        return f"{self.file}: {f'column {self.column!r}: ' if self.column else ''}{self.check} ({self.count})"


@dataclass(frozen=True)
class ContractReport:
    file: str
    rows: int
    failures: tuple[Failure, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return not self.failures

    def raise_if_failed(self) -> None:
        """Raises ContractViolation with one line a failure."""
        if self.failures:
            raise ContractViolation("\n".join(map(str, self.failures)))


def check_table(source: pl.DataFrame | str | Path, schema: Mapping[str, str], *, name: str | None = None,
                day: str | None = None, categories: frozenset[str] | None = None) -> ContractReport:
    """Check a frame or a Parquet file against a schema of ``columns``; its first column is the key.

    Args:
        source: a frame, a path or an fsspec address.
        name: what messages call a frame (default "table"); a file is called by its address.
        day: the partition (ISO): every timestamp must lie in that UTC day.
        categories: the accepted values of category_l1 (default: any that is not empty).
    """
    if isinstance(source, pl.DataFrame):
        return _check_frame(source, schema, name or "table", day, categories)
    report, _ = _read_checked(str(source), schema, day, categories)
    return report


def _read_checked(address: str, schema: Mapping[str, str], day: str | None,
                  categories: frozenset[str] | None = None) -> tuple[ContractReport, pl.DataFrame | None]:
    fs, path = fsspec.core.url_to_fs(address)
    try:
        frame = pl.read_parquet(io.BytesIO(fs.cat_file(path)))
    except FileNotFoundError:
        return ContractReport(address, 0, (Failure(address, "", "file is missing", 1),)), None
    except pl.exceptions.PolarsError as error:  # ComputeError: no Parquet footer, or a broken one
        reason = str(error).splitlines()[0]
        return ContractReport(address, 0, (Failure(address, "", f"is not a readable Parquet file: {reason}", 1),)), None
    return _check_frame(frame, schema, address, day, categories), frame


def _check_frame(frame: pl.DataFrame, schema: Mapping[str, str], file: str, day: str | None,
                 categories: frozenset[str] | None) -> ContractReport:
    failures = [Failure(file, column, "column is missing", 1) for column in schema if column not in frame.columns]
    sound = []
    for column, kind in schema.items():
        if column not in frame.columns:
            continue
        if frame.schema[column] != getattr(pl, kind):
            failures.append(Failure(file, column, f"type is {frame.schema[column]}, not {kind}", frame.height))
        else:
            sound.append(column)
    if frame.is_empty():
        return ContractReport(file, 0, (*failures, Failure(file, "", "no rows", 1)))
    failures += _value_failures(frame.select(sound), file, day, categories)
    key = next(iter(schema))
    if key in sound:
        filled = frame[key].drop_nulls()
        if repeated := len(filled) - filled.n_unique():
            failures.append(Failure(file, key, "duplicated", repeated))
    return ContractReport(file, frame.height, tuple(failures))


def _value_failures(frame: pl.DataFrame, file: str, day: str | None,
                    categories: frozenset[str] | None) -> list[Failure]:
    """Nulls and values, by Pandera; only for columns of the right type."""
    allowed = dict(_VALUES) if categories is None else {**_VALUES, CATEGORY_L1: tuple(sorted(categories))}
    rules: dict[str, pa.Column] = {}
    for column, dtype in frame.schema.items():
        checks = []
        if column in allowed:
            checks.append(pa.Check.isin(allowed[column], error=f"unknown value, not one of {_listed(allowed[column])}"))
        elif column in _NOT_EMPTY:
            checks.append(pa.Check.str_length(min_value=1, error="empty"))
        elif column == TIMESTAMP and day is not None:
            start, end = day_bounds(day)
            checks.append(pa.Check.in_range(start, end, include_max=False, error=f"outside the day {day}"))
        elif column == PRICE:
            checks.append(pa.Check(lambda data: data.lazyframe.select(
                (pl.col(data.key).is_finite() & (pl.col(data.key) > 0)).fill_null(False)),
                error="not a number above 0", ignore_na=False))
        elif column == AGE:
            checks.append(pa.Check.in_range(0, 120, error="outside 0 to 120 years"))
        nullable = column in NULLABLE or column == PRICE  # the price's own check covers null and NaN
        rules[column] = pa.Column(dtype, checks=checks, nullable=nullable)
    try:
        pa.DataFrameSchema(rules).validate(frame, lazy=True)
    except SchemaErrors as error:
        counts = error.failure_cases.group_by("column", "check", maintain_order=True).len()
        return [Failure(file, column, "null" if check == "not_nullable" else check, count)
                for column, check, count in counts.iter_rows()]
    return []


def _listed(values: tuple[object, ...], most: int = 8) -> str:
    return ", ".join(map(str, values[:most])) + (f" and {len(values) - most} more" if len(values) > most else "")


@dataclass(frozen=True)
class LandingDay:
    """A day of the landing zone: its rows, once each, ordered by (timestamp, event_id)."""

    day: str
    frame: pl.DataFrame  # RAW_INTERACTIONS
    rows_by_file: dict[str, int]
    duplicates: int  # rows dropped because an earlier file holds the same event_id


def read_landing_day(landing_uri: str | Path, day: str) -> LandingDay:
    """Read, check and join all files of a day (a folder or an fsspec address).

    The event consumer may deliver an event in two files: the file that comes first by name keeps it.

    Raises:
        LandingMissing: no file for the day.
        ContractViolation: with every failure of every file.
    """
    root = str(landing_uri).rstrip("/")
    fs, prefix = fsspec.core.url_to_fs(root)
    paths = sorted(str(path) for path in fs.glob(f"{prefix}/{INTERACTIONS_FOLDER}/{day}/*.parquet"))
    if not paths:
        raise LandingMissing(f"no interactions of {day} in {root}/{INTERACTIONS_FOLDER}: run `recsys simulate` for "
                             "this day, or wait until its files have landed")
    failures: list[Failure] = []
    frames: list[pl.DataFrame] = []
    rows: dict[str, int] = {}
    for path in paths:
        address = fs.unstrip_protocol(path) if "://" in root else path
        report, frame = _read_checked(address, RAW_INTERACTIONS, day)
        failures += report.failures
        rows[path.rsplit("/", 1)[-1]] = report.rows
        if report.ok and frame is not None:
            frames.append(frame.select(*RAW_INTERACTIONS))
    ContractReport(day, sum(rows.values()), tuple(failures)).raise_if_failed()
    joined = pl.concat(frames)
    unique = joined.unique(EVENT_ID, keep="first", maintain_order=True) if len(frames) > 1 else joined
    return LandingDay(day, unique.sort(TIMESTAMP, EVENT_ID), rows, joined.height - unique.height)
