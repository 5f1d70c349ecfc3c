"""What a table must look like, and the reader that accepts nothing else.

A failure is (file, column, check, count, example): enough to find the rows without opening the
code.

Landing zone: ``catalogue/items.parquet``, ``catalogue/images.parquet``, ``users/users.parquet`` and
``interactions/<YYYY-MM-DD>/*.parquet`` (one file of the simulator, any number of the event
consumer); where the shop declares its categories, ``catalogue/categories.json`` (a list of names);
rows that an ingest refused, ``quarantine/<table>/<digest>.parquet``.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from recsys_assets import columns as c
from recsys_assets.partitions import day_bounds

#: Every other column must be filled.
NULLABLE = frozenset({c.AGE})
#: Clocks of different machines differ by this much; what lies further ahead of now is a future
#: time.
CLOCK_TOLERANCE_SECONDS = 300
_NOT_EMPTY = (c.EVENT_ID, c.USER_ID, c.ITEM_ID, c.CATEGORY_L1, c.CATEGORY_L2)
_VALUES: dict[str, tuple[object, ...]] = {
    c.DEVICE_TYPE: (*c.DEVICES, c.MISSING),
    c.EVENT_TYPE: c.EVENT_TYPES,
    c.CLICK: (0, 1),
    c.GENDER: (*c.GENDERS, c.MISSING),
    c.ITEM_GENDER: c.ITEM_GENDERS,
}
#: column → (condition, what a row that breaks it is told); null and NaN break it too.
_NUMBERS: dict[str, tuple[pl.Expr, str]] = {
    c.PRICE: (pl.col(c.PRICE) > 0, "not a number above 0"),
    c.CLICKS_24H: (pl.col(c.CLICKS_24H) >= 0, "not a number of 0 or more"),
    c.HOURS_SINCE_CLICK: (
        pl.col(c.HOURS_SINCE_CLICK).is_between(0, c.LOOK_BACK_HOURS),
        f"not a number of 0 to {c.LOOK_BACK_HOURS} hours",
    ),
    **{
        name: (pl.col(name) >= 0, "not a number of 0 or more")
        for name in (c.ITEM_CLICKS, c.CLICKS_7D, c.CATEGORY_CLICKS_7D, c.CATEGORY_CLICKS_24H)
    },
}
#: What columns say of each other: (column named, the others needed, rows that break it, what they
#: are told).
_ACROSS: tuple[tuple[str, tuple[str, ...], pl.Expr, str], ...] = (
    (
        c.CLICK,
        (c.EVENT_TYPE,),
        (pl.col(c.CLICK) == 1) == (pl.col(c.EVENT_TYPE) == c.IMPRESSION),
        f"contradicts the event type: 0 for {c.IMPRESSION}, 1 for every other",
    ),
    (
        c.HOURS_SINCE_CLICK,
        (c.CLICKS_24H,),
        (pl.col(c.CLICKS_24H) == 0) & (pl.col(c.HOURS_SINCE_CLICK) != c.LOOK_BACK_HOURS),
        f"is not {c.LOOK_BACK_HOURS} though the visitor has no click",
    ),
    (
        c.CLICKS_7D,
        (c.CLICKS_24H,),
        pl.col(c.CLICKS_7D) < pl.col(c.CLICKS_24H),
        "is less than the clicks of the last 24 hours",
    ),
    (
        c.CATEGORY_CLICKS_7D,
        (c.CLICKS_7D,),
        pl.col(c.CATEGORY_CLICKS_7D) > pl.col(c.CLICKS_7D),
        "is more than all clicks of 7 days",
    ),
    (
        c.CATEGORY_CLICKS_24H,
        (c.CLICKS_24H,),
        pl.col(c.CATEGORY_CLICKS_24H) > pl.col(c.CLICKS_24H),
        "is more than all clicks of 24 hours",
    ),
    (
        c.USER_ID,
        (c.AGE, c.GENDER, c.TOP_CATEGORY, c.CLICKS_24H, c.CLICKS_7D),
        (pl.col(c.USER_ID) == c.MISSING)
        & (
            pl.col(c.AGE).is_not_null()
            | (pl.col(c.GENDER) != c.MISSING)
            | (pl.col(c.TOP_CATEGORY) != c.MISSING)
            | (pl.col(c.CLICKS_24H) != 0)
            | (pl.col(c.CLICKS_7D) != 0)
        ),
        "is masked, but the visitor's features are not",
    ),
)


class ContractViolation(ValueError):
    """A table breaks its contract; the message names file, column, check and count."""


@dataclass(frozen=True)
class Failure:
    file: str
    column: str  # "" where the whole file is meant
    check: str
    count: int  # of rows, or 1 where the whole file or column is meant
    example: str = ""  # a value that breaks it

    def __str__(self) -> str:
        column = f"column {self.column!r}: " if self.column else ""
        return (
            f"{self.file}: {column}{self.check} "
            f"({self.count}){f', for example {self.example}' if self.example else ''}"
        )


@dataclass(frozen=True)
class ContractReport:
    file: str
    rows: int
    failures: tuple[Failure, ...] = field(default=())
    extra_columns: tuple[str, ...] = field(
        default=()
    )  # tolerated: the contract says nothing about them

    @property
    def ok(self) -> bool:
        return not self.failures

    def raise_if_failed(self) -> None:
        """Raises ContractViolation with one line a failure."""
        if self.failures:
            raise ContractViolation("\n".join(map(str, self.failures)))


@dataclass(frozen=True)
class Known:
    """What a table is held against beyond itself.

    Args:
        day: the partition (ISO): every timestamp must lie in that UTC day.
        now: unix seconds: no timestamp may lie more than CLOCK_TOLERANCE_SECONDS after it.
        items: ids of the catalogue: every item_id must be one.
        categories: the accepted category_l1; top_category may be MISSING besides.
    """

    day: str | None = None
    now: int | None = None
    items: Collection[str] | None = None
    categories: Collection[str] | None = None

    def checks(self, column: str) -> list[pa.Check]:
        values = _VALUES.get(column)
        if self.categories is not None and column in (c.CATEGORY_L1, c.TOP_CATEGORY):
            values = (*sorted(self.categories), *((c.MISSING,) if column == c.TOP_CATEGORY else ()))
        if values is not None:
            return [pa.Check.isin(values, error=f"unknown value, not one of {_listed(values)}")]
        checks = [pa.Check.str_length(min_value=1, error="empty")] if column in _NOT_EMPTY else []
        if column == c.ITEM_ID and self.items is not None:
            checks.append(
                pa.Check.isin(
                    list(self.items),
                    error="not in the catalogue (raw/items): deliver and "
                    "materialise the catalogue that holds it, or repair the rows",
                )
            )
        if column == c.TIMESTAMP and self.day is not None:
            start, end = day_bounds(self.day)
            checks.append(
                pa.Check.in_range(
                    start, end, include_max=False, error=f"outside the day {self.day}"
                )
            )
        if column == c.TIMESTAMP and self.now is not None:
            checks.append(pa.Check.le(self.now + CLOCK_TOLERANCE_SECONDS, error="in the future"))
        if column == c.AGE:
            checks.append(pa.Check.in_range(0, 120, error="outside 0 to 120 years"))
        if column in _NUMBERS:
            condition, message = _NUMBERS[column]
            checks.append(
                pa.Check(
                    lambda data: data.lazyframe.select(
                        (pl.col(data.key).is_finite() & condition).fill_null(False)
                    ),
                    error=message,
                    ignore_na=False,
                )
            )
        return checks


def check_table(
    source: pl.DataFrame | str | Path,
    schema: Mapping[str, str],
    *,
    name: str | None = None,
    **known: Any,
) -> ContractReport:
    """Check a frame or a Parquet file (path or fsspec address) against a schema of ``columns``.

    The schema's first column is the key where it is one of event_id, user_id, item_id. ``name``:
    what messages call it (default: its address, or "table"). ``known``: the fields of Known.
    """
    if isinstance(source, pl.DataFrame):
        return _check_frame(source, schema, name or "table", Known(**known))
    report, _, _ = read(source, schema, name=name, **known)
    return report


def read_checked(
    source: str | Path, schema: Mapping[str, str], *, name: str | None = None, **known: Any
) -> pl.DataFrame:
    """A Parquet file's rows, columns in the schema's order; raises ContractViolation."""
    report, frame, _ = read(source, schema, name=name, **known)
    report.raise_if_failed()
    assert frame is not None
    return frame.select(*schema)


def read(
    source: str | Path, schema: Mapping[str, str], *, name: str | None = None, **known: Any
) -> tuple[ContractReport, pl.DataFrame | None, str]:
    """Report, rows (None: unreadable) and sha256 of a Parquet file, whose bytes are read once."""
    name = name or str(source)
    fs, path = fsspec.core.url_to_fs(str(source))
    try:
        content = fs.cat_file(path)
    except FileNotFoundError:
        return ContractReport(name, 0, (Failure(name, "", "file is missing", 1),)), None, ""
    digest = hashlib.sha256(content).hexdigest()
    try:
        frame = pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError as error:  # ComputeError: no Parquet footer, or a broken one
        reason = str(error).splitlines()[0]
        return (
            ContractReport(
                name, 0, (Failure(name, "", f"is not a readable Parquet file: {reason}", 1),)
            ),
            None,
            digest,
        )
    return _check_frame(frame, schema, name, Known(**known)), frame, digest


def _check_frame(
    frame: pl.DataFrame, schema: Mapping[str, str], file: str, known: Known
) -> ContractReport:
    extra = tuple(column for column in frame.columns if column not in schema)
    failures = [
        Failure(file, column, "column is missing", 1)
        for column in schema
        if column not in frame.columns
    ]
    sound = []
    for column, kind in schema.items():
        if column not in frame.columns:
            continue
        if frame.schema[column] != getattr(pl, kind):
            failures.append(
                Failure(file, column, f"type is {frame.schema[column]}, not {kind}", frame.height)
            )
        else:
            sound.append(column)
    if frame.is_empty():
        return ContractReport(file, 0, (*failures, Failure(file, "", "no rows", 1)), extra)
    sound_frame = frame.select(sound)
    failures += _value_failures(sound_frame, file, known)
    failures += _contradictions(sound_frame, file, {failure.column for failure in failures})
    key = next(iter(schema))
    if key in sound:
        filled = frame[key].drop_nulls()
        if repeated := len(filled) - filled.n_unique():
            example = filled.filter(filled.is_duplicated())[0]
            failures.append(Failure(file, key, "duplicated", repeated, repr(example)))
    return ContractReport(file, frame.height, tuple(failures), extra)


def _value_failures(frame: pl.DataFrame, file: str, known: Known) -> list[Failure]:
    """Nulls and values, by Pandera; only for columns of the right type."""
    rules = {
        column: pa.Column(
            dtype,
            checks=known.checks(column),
            # a number's own check covers null and NaN
            nullable=column in NULLABLE or column in _NUMBERS,
        )
        for column, dtype in frame.schema.items()
    }
    try:
        pa.DataFrameSchema(rules).validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases.group_by("column", "check", maintain_order=True).agg(
            pl.len(), pl.col("failure_case").drop_nulls().first()
        )
        return [
            Failure(file, column, "null", count)
            if check == "not_nullable"
            else Failure(file, column, check, count, "" if example is None else repr(example))
            for column, check, count, example in cases.iter_rows()
        ]
    return []


def _contradictions(frame: pl.DataFrame, file: str, failed: set[str]) -> list[Failure]:
    """Rows whose columns contradict each other; only where these columns hold on their own."""
    rules = [
        (column, broken, message)
        for column, others, broken, message in _ACROSS
        if {column, *others} <= set(frame.columns) - failed
    ]
    counts = (
        frame.select(broken.sum().alias(str(i)) for i, (_, broken, _) in enumerate(rules)).row(0)
        if rules
        else ()
    )
    return [
        Failure(file, column, message, count)
        for (column, _, message), count in zip(rules, counts, strict=True)
        if count
    ]


def _listed(values: tuple[object, ...], most: int = 8) -> str:
    return ", ".join(map(str, values[:most])) + (
        f" and {len(values) - most} more" if len(values) > most else ""
    )
