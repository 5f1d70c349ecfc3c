"""Hold what a reader yields: consecutive rows of a file and the lines that are no rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys_assets.lib.landing.zone import IngestError


@dataclass(frozen=True)
class TextForm:
    """Holds how to read a text file: names of its columns and charset.

    Args:
        names: of the columns, in order, for a file without a header; empty: it has one.
        encoding: of the text; None: detect it.
        option: the command's option that gives the names.
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


def all_named(names: Sequence[str]) -> list[str]:
    """Return the names of columns; one without a name gets its number.

    >>> all_named(["item_id", ""])
    ['item_id', 'column 2']
    """
    return [name or f"column {n}" for n, name in enumerate(names, 1)]


def refuse_repeated(path: Path, names: Sequence[str]) -> None:
    """Refuse a file with two columns of one name.

    Raises:
        IngestError: names the column and the remedy.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise IngestError(
            f"{path}: column {twice[0]!r} occurs more than once; rename one of the columns"
        )


def numbered(done: int, n: int) -> pl.Series:
    """Return the numbers of the n rows that follow ``done`` rows."""
    return pl.int_range(done + 1, done + n + 1, dtype=pl.Int64, eager=True)
