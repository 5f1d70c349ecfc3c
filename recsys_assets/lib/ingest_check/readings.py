"""Choose examples of what was read from each column of a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from recsys_assets.columns import CATEGORY_L1, CATEGORY_L2, MISSING, TIMESTAMP, UNKNOWN_CATEGORY
from recsys_assets.lib.landing.local_days import local_seconds
from recsys_assets.lib.landing.quarantine import REASON

#: Examples of a column, and how many of them are values that could not be read.
EXAMPLES, UNREAD_EXAMPLES = 5, 2
_UNKNOWN = "unknown"


@dataclass
class ColumnReading:
    """Says what a column of a source was read as.

    Attributes:
        yours: the source's name of it.
        ours: our name; None: the column is not used.
        examples: (value of the source, what was read); what was read is None for an unused column.
    """

    yours: str
    ours: str | None
    examples: list[tuple[str, str | None]] = field(default_factory=list)


def log_examples(
    reading: ColumnReading, rows: pl.DataFrame, prefix: str, zone: str
) -> list[tuple[str, str | None]]:
    """Return the examples of a column with those that a batch of a log adds.

    Args:
        reading: the column and the examples so far.
        rows: of ``mapping.canonical``, with the source's columns.
        prefix: of the source's columns in ``rows``.
        zone: the shop's, in which times are shown.
    """
    name, given = reading.ours or "", prefix + reading.yours
    if len(reading.examples) >= EXAMPLES:
        return reading.examples
    sound = rows.filter(pl.col(REASON).is_null(), pl.col(given).is_not_null())
    if name == TIMESTAMP:
        read = pl.from_epoch(local_seconds(pl.col(name), zone)).dt.strftime("%Y-%m-%d %H:%M:%S")
    else:
        read = pl.col(name).cast(pl.String).replace(MISSING, _UNKNOWN)
    pairs = sound.select(pl.col(given).alias("given"), read.alias("read"))
    return _merged(reading.examples, pairs)


def _merged(
    examples: list[tuple[str, str | None]], pairs: pl.DataFrame
) -> list[tuple[str, str | None]]:
    distinct = pairs.unique("given", keep="first", maintain_order=True).head(EXAMPLES * 2)
    found = dict(examples)
    for given, read in distinct.iter_rows():
        if len(found) < EXAMPLES:
            found.setdefault(given, read)
    return list(found.items())


def table_examples(given: pl.DataFrame, frame: pl.DataFrame, ours: str) -> list[tuple[str, str]]:
    """Return examples of a column of a catalogue or of users.

    Up to two values that could not be read are among them.

    Args:
        given: our columns as the source has them.
        frame: what was read, in the same order.
        ours: the column.
    """
    read = _shown(frame, given, ours)
    pairs = pl.DataFrame({"given": given[ours], "read": read}).filter(
        pl.col("given").is_not_null(), pl.col("given").str.strip_chars() != ""
    )
    pairs = pairs.unique("given", keep="first", maintain_order=True)
    lost = pairs.filter(pl.col("read") == _UNKNOWN).head(UNREAD_EXAMPLES)
    sound = pairs.filter(pl.col("read") != _UNKNOWN).head(EXAMPLES - lost.height)
    return [(str(one), str(other)) for one, other in pl.concat([sound, lost]).iter_rows()]


def _shown(frame: pl.DataFrame, given: pl.DataFrame, ours: str) -> pl.Series:
    """Return a column as text for the reader, "unknown" where there is no value."""
    column = frame[ours]
    if column.dtype == pl.Boolean:
        text = column.replace_strict({True: "yes", False: "no"}, return_dtype=pl.String)
    elif column.dtype == pl.Float64:
        text = column.round(2).cast(pl.String).str.replace(r"\.(\d)$", ".${1}0")
    else:
        text = column.cast(pl.String)
    if ours == CATEGORY_L1 and CATEGORY_L2 not in given.columns:
        second = frame[CATEGORY_L2]
        both = pl.format("{}, then {}", pl.lit(text), pl.lit(second))
        text = pl.select(
            pl.when(pl.lit(second) != UNKNOWN_CATEGORY).then(both).otherwise(pl.lit(text))
        ).to_series()
    return text.fill_null(_UNKNOWN).replace([MISSING, ""], [_UNKNOWN, _UNKNOWN])


def readings_of(
    mapping: Mapping[str, str], given: pl.DataFrame | None, frame: pl.DataFrame
) -> list[ColumnReading]:
    """Return what was read from each used column of a table.

    Args:
        mapping: our column → the source's.
        given: our columns as the source has them; None: as they were read (YAML).
        frame: what was read.
    """
    if given is None:
        given = frame.select(pl.all().cast(pl.String))
        mapping = {name: name for name in frame.columns}
    return [
        ColumnReading(yours, ours, list(table_examples(given, frame, ours)))
        for ours, yours in mapping.items()
        if ours in given.columns
    ]
