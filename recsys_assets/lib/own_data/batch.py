"""Hold what a reader yields: consecutive rows of a file and the lines that are no rows."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class TextForm:
    """Says what a text file does not say itself.

    Args:
        names: of the columns, in order, for a file without a header; empty: it has one.
        encoding: of the text; None: detect it.
        option: of the command, that gives the names.
    """

    names: tuple[str, ...] = ()
    encoding: str | None = None
    option: str = "--columns"


@dataclass(frozen=True)
class MalformedLine:
    """Holds a CSV line that has more or fewer fields than the header, or another charset."""

    row: int  # data row in its file, from 1
    text: str
    fields: int
    expected: int


@dataclass(frozen=True)
class Batch:
    """Holds consecutive rows of a file and the malformed lines among them."""

    frame: pl.DataFrame  # the requested columns
    rows: pl.Series  # int64: each row's number in its file, from 1, without the header
    malformed: tuple[MalformedLine, ...] = ()
    literal: int = 0  # rows whose stray quotes were taken as text
    notes: tuple[str, ...] = ()  # what was detected so far, as sentences for the report


def numbered(done: int, n: int) -> pl.Series:
    """Return the numbers of the n rows that follow ``done`` rows."""
    return pl.int_range(done + 1, done + n + 1, dtype=pl.Int64, eager=True)
