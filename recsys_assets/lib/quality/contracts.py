"""Define the contracts of tables, and read only tables that keep them.

A failure names file, column, check, count and an example, so that the rows can be found without
reading the code.

Files of the landing zone:
    ``catalogue/items.parquet``, ``catalogue/images.parquet``, ``users/users.parquet``.
    ``interactions/<YYYY-MM-DD>/*.parquet``: one file of the simulator, any number of the consumer.
    ``catalogue/categories.json``: a list of names, if the shop declares its categories.
    ``quarantine/<table>/<digest>.parquet``: rows that an ingest rejected.
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
from recsys_assets.local_time import UTC
from recsys_assets.partitions import day_bounds

#: Columns that may be null.
NULLABLE = frozenset({c.AGE, c.PRICE, c.ARRIVED, c.REQUEST_ID})
#: Accepted difference between the clocks of machines. A later timestamp is in the future.
CLOCK_TOLERANCE_SECONDS = 300
_NOT_EMPTY = (c.EVENT_ID, c.USER_ID, c.ITEM_ID, c.CATEGORY_L1, c.CATEGORY_L2)
_VALUES: dict[str, tuple[object, ...]] = {
    c.DEVICE_TYPE: (*c.DEVICES, c.MISSING),
    c.EVENT_TYPE: c.EVENT_TYPES,
    c.CLICK: (0, 1),
    c.GENDER: (*c.GENDERS, c.MISSING),
    c.ITEM_GENDER: c.ITEM_GENDERS,
}
#: column → (condition, message). NaN breaks the condition too, and null unless it is NULLABLE.
_NUMBERS: dict[str, tuple[pl.Expr, str]] = {
    c.PRICE: (pl.col(c.PRICE) > 0, "not a number above 0"),
    c.CLICKS_24H: (pl.col(c.CLICKS_24H) >= 0, "not a number of 0 or more"),
    c.HOURS_SINCE_CLICK: (
        pl.col(c.HOURS_SINCE_CLICK).is_between(0, c.RECENT_HOURS),
        f"not a number of 0 to {c.RECENT_HOURS} hours",
    ),
    **{
        name: (pl.col(name) >= 0, "not a number of 0 or more")
        for name in (
            c.ITEM_CLICKS,
            c.CLICKS_LOOK_BACK,
            c.CATEGORY_CLICKS_LOOK_BACK,
            c.CATEGORY_CLICKS_24H,
        )
    },
}
#: Rules across columns: (column to name, other columns, condition of a wrong row, message).
_ACROSS: tuple[tuple[str, tuple[str, ...], pl.Expr, str], ...] = (
    (
        c.CLICK,
        (c.EVENT_TYPE,),
        (pl.col(c.CLICK) == 1) == pl.col(c.EVENT_TYPE).is_in([c.IMPRESSION, c.DISMISS]),
        f"contradicts the event type: 0 for {c.IMPRESSION} and {c.DISMISS}, 1 for every other",
    ),
    (
        c.HOURS_SINCE_CLICK,
        (c.CLICKS_24H,),
        (pl.col(c.CLICKS_24H) == 0) & (pl.col(c.HOURS_SINCE_CLICK) != c.RECENT_HOURS),
        f"is not {c.RECENT_HOURS} though the visitor has no click",
    ),
    (
        c.CLICKS_LOOK_BACK,
        (c.CLICKS_24H,),
        pl.col(c.CLICKS_LOOK_BACK) < pl.col(c.CLICKS_24H),
        "is less than the clicks of the last 24 hours",
    ),
    (
        c.CATEGORY_CLICKS_LOOK_BACK,
        (c.CLICKS_LOOK_BACK,),
        pl.col(c.CATEGORY_CLICKS_LOOK_BACK) > pl.col(c.CLICKS_LOOK_BACK),
        "is more than all clicks of the look-back days",
    ),
    (
        c.CATEGORY_CLICKS_24H,
        (c.CLICKS_24H,),
        pl.col(c.CATEGORY_CLICKS_24H) > pl.col(c.CLICKS_24H),
        "is more than all clicks of 24 hours",
    ),
    (
        c.USER_ID,
        (c.AGE, c.GENDER, c.TOP_CATEGORY, c.CLICKS_24H, c.CLICKS_LOOK_BACK),
        (pl.col(c.USER_ID) == c.MISSING)
        & (
            pl.col(c.AGE).is_not_null()
            | (pl.col(c.GENDER) != c.MISSING)
            | (pl.col(c.TOP_CATEGORY) != c.MISSING)
            | (pl.col(c.CLICKS_24H) != 0)
            | (pl.col(c.CLICKS_LOOK_BACK) != 0)
        ),
        "is masked, but the visitor's features are not masked",
    ),
)


class ContractViolation(ValueError):
    """Raised if a table breaks its contract; names file, column, check and count."""


@dataclass(frozen=True)
class Failure:
    """Describes one broken rule of a table."""

    file: str
    column: str  # "" if the whole file is meant
    check: str
    count: int  # number of rows, or 1 if the whole file or column is meant
    example: str = ""  # a value that breaks the rule

    def __str__(self) -> str:
        column = f"column {self.column!r}: " if self.column else ""
        return (
            f"{self.file}: {column}{self.check} "
            f"({self.count}){f', for example {self.example}' if self.example else ''}"
        )


@dataclass(frozen=True)
class ContractReport:
    """Holds all failures of one table."""

    file: str
    rows: int
    failures: tuple[Failure, ...] = field(default=())
    extra_columns: tuple[str, ...] = field(default=())  # accepted, but not in the contract

    @property
    def ok(self) -> bool:
        """Return whether the table keeps its contract."""
        return not self.failures

    def raise_if_failed(self) -> None:
        """Raise an error if there is a failure.

        Raises:
            ContractViolation: there is a failure; one line per failure.
        """
        if self.failures:
            raise ContractViolation("\n".join(map(str, self.failures)))


@dataclass(frozen=True)
class Known:
    """Holds known facts that a table is compared with.

    Args:
        day: the partition (ISO); every timestamp must lie in that local day.
        now: unix seconds; no event and no arrival may be later by more than
            CLOCK_TOLERANCE_SECONDS.
        items: ids of the catalogue; every item_id must be one of them.
        categories: accepted values of category_l1; top_category may also be MISSING.
        zone: time zone of the day.
    """

    day: str | None = None
    now: int | None = None
    items: Collection[str] | None = None
    categories: Collection[str] | None = None
    zone: str = UTC

    def rules(self, column: str) -> list[ValueRule]:
        """Return the rules of a column's values."""
        value, values = pl.col(column), _VALUES.get(column)
        if self.categories is not None and column in (c.CATEGORY_L1, c.TOP_CATEGORY):
            values = (*sorted(self.categories), *((c.MISSING,) if column == c.TOP_CATEGORY else ()))
        if values is not None:
            message = f"unknown value, not one of {_listed(values)}"
            return [ValueRule(value.is_in(list(values)), message)]
        rules = [ValueRule(value != "", "empty")] if column in _NOT_EMPTY else []
        if column == c.ITEM_ID and self.items is not None:
            rules.append(
                ValueRule(
                    value.is_in(list(self.items)),
                    "not in the catalogue (raw/items): deliver and "
                    "materialise a catalogue that has it, or repair the rows",
                )
            )
        if column == c.TIMESTAMP and self.day is not None:
            start, end = day_bounds(self.day, self.zone)
            rules.append(
                ValueRule(
                    value.is_between(start, end, closed="left"), f"outside the day {self.day}"
                )
            )
        if column in (c.TIMESTAMP, c.ARRIVED) and self.now is not None:
            rules.append(ValueRule(value <= self.now + CLOCK_TOLERANCE_SECONDS, "in the future"))
        if column == c.AGE:
            rules.append(ValueRule(value.is_between(0, 120), "outside 0 to 120 years"))
        if column in _NUMBERS:
            condition, message = _NUMBERS[column]
            rules.append(
                ValueRule((value.is_finite() & condition).fill_null(column in NULLABLE), message)
            )
        return rules


@dataclass(frozen=True)
class ValueRule:
    """A condition that each value of a column meets; null in the condition passes."""

    condition: pl.Expr
    message: str

    def check(self) -> pa.Check:
        """Return the rule as a Pandera check, which counts and shows the values that break it."""
        return pa.Check(
            lambda data: data.lazyframe.select(self.condition.fill_null(True)),
            error=self.message,
            ignore_na=False,
        )


def check_table(
    source: pl.DataFrame | str | Path,
    schema: Mapping[str, str],
    *,
    name: str | None = None,
    **known: Any,
) -> ContractReport:
    """Check a frame or a Parquet file (path or fsspec address) against a schema.

    Args:
        source: the table.
        schema: a schema of ``columns``; its first column is the key, without duplicates.
        name: the table's name in messages (default: its address, or "table").
        known: the fields of Known.
    """
    if isinstance(source, pl.DataFrame):
        return _check_frame(source, schema, name or "table", Known(**known))
    report, _, _ = read(source, schema, name=name, **known)
    return report


def read_checked(
    source: str | Path, schema: Mapping[str, str], *, name: str | None = None, **known: Any
) -> pl.DataFrame:
    """Return the rows of a Parquet file, with columns in the schema's order.

    Args:
        source: path or fsspec address.
        schema: a schema of ``columns``.
        name: the table's name in messages (default: its address).
        known: the fields of Known.

    Raises:
        ContractViolation: the table breaks its contract.
    """
    report, frame, _ = read(source, schema, name=name, **known)
    report.raise_if_failed()
    assert frame is not None
    return frame.select(*schema)


def read(
    source: str | Path,
    schema: Mapping[str, str],
    *,
    name: str | None = None,
    optional: Mapping[str, str] | None = None,
    **known: Any,
) -> tuple[ContractReport, pl.DataFrame | None, str]:
    """Read a Parquet file once; return report, rows (None: unreadable) and SHA-256.

    Args:
        source: path or fsspec address.
        schema: a schema of ``columns``.
        name: the table's name in messages (default: its address).
        optional: columns of the contract that the file may lack.
        known: the fields of Known.
    """
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
    there = {column: kind for column, kind in (optional or {}).items() if column in frame.columns}
    return _check_frame(frame, {**schema, **there}, name, Known(**known)), frame, digest


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
        # a day without events is a day; a catalogue or a users' table without rows is a fault
        nothing = () if known.day is not None else (Failure(file, "", "no rows", 1),)
        return ContractReport(file, 0, (*failures, *nothing), extra)
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
    """Check nulls and values; all columns have the right type."""
    # the rule of a number covers null and NaN
    filled = [name for name in frame.columns if name not in NULLABLE and name not in _NUMBERS]
    rules = {name: known.rules(name) for name in frame.columns}
    broken = [
        *(pl.col(name).has_nulls() for name in filled),
        *((~rule.condition).any() for name in rules for rule in rules[name]),
    ]
    # Pandera takes 30 ms per table to say what is broken, and almost always nothing is.
    if not broken or not frame.select(pl.any_horizontal(broken)).item():
        return []
    schema = {
        name: pa.Column(
            dtype, checks=[rule.check() for rule in rules[name]], nullable=name not in filled
        )
        for name, dtype in frame.schema.items()
    }
    try:
        pa.DataFrameSchema(schema).validate(frame, lazy=True)
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
    """Count rows whose columns contradict each other; skip columns that failed before."""
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
