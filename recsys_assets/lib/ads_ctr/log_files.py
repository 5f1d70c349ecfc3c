"""Read ads logs as they are published: text with tabs or commas, gzip of it, or Parquet.

Public logs come as day_0.gz … day_23.gz or train.txt (tabs, no header, 40 fields), as CSV with a
header, and as Parquet. A row that breaks the form is set aside with its reason; no other row is
lost by it.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.ads_columns import CATEGORIES, COLUMNS, INTEGERS, LABEL, LARGEST, LONGEST
from recsys_assets.lib.landing.quarantine import REASON, SOURCE_LINE, SOURCE_ROW
from recsys_assets.lib.landing.zone import IngestError

BLOCK_BYTES = 32 << 20
PARQUET_ROWS = 200_000
SCHEMA: dict[str, type[pl.DataType]] = {
    LABEL: pl.Int8,
    **dict.fromkeys(INTEGERS, pl.Int64),
    **dict.fromkeys(CATEGORIES, pl.String),
}
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
#: Names that converted copies of the logs use, such as integer_feature_3, int_3 and cat_7.
_ALIAS = re.compile(r"(i|int|integer_feature|c|cat|categorical_feature)_?0*(\d+)")


@dataclass(frozen=True)
class LogBatch:
    """Holds the rows of one block of a file.

    Attributes:
        rows: of SCHEMA, in the order of the file; an empty field is null.
        rejected: {reason, source_row, source_line}, rows that break the form.
    """

    rows: pl.DataFrame
    rejected: pl.DataFrame


class Progress(Protocol):
    """Is told how far the reading of a file has come."""

    def __call__(self, done: int, whole: int) -> None:
        """Report bytes, or rows of a Parquet file, that were read, and all of them."""


def quiet(done: int, whole: int) -> None:
    """Report nothing."""


def read_log(path: Path, progress: Progress = quiet) -> Iterator[LogBatch]:
    """Yield the rows of a file, block by block.

    Args:
        path: text, gzip or Parquet; told apart by their first bytes, not by the name.
        progress: is told the bytes or rows that were read.

    Raises:
        IngestError: the file is missing, empty, cut off or of another form; the message names file
            and remedy.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
    except OSError as error:
        raise IngestError(f"{path} cannot be read: {error.strerror}; name a file") from error
    if not head:
        raise IngestError(f"{path} is empty: leave it out, or export it again")
    return _parquet(path, progress) if head == _PARQUET else _text(path, head, progress)


def canonical(name: str) -> str | None:
    """Return the column that a header means; None: none.

    >>> [canonical(name) for name in ("Label", "i7", "integer_feature_7", "cat_26", "C27", "day")]
    ['label', 'I7', 'I7', 'C26', None, None]
    """
    plain = name.strip().strip('"').lower()
    if plain in (LABEL, "click", "clicked"):
        return LABEL
    found = _ALIAS.fullmatch(plain)
    column = f"{found[1][0].upper()}{found[2]}" if found else ""
    return column if column in COLUMNS else None


# --- text -----------------------------------------------------------------------------------------


def _text(path: Path, head: bytes, progress: Progress) -> Iterator[LogBatch]:
    whole = path.stat().st_size
    with path.open("rb") as raw:
        opened = cast("IO[bytes]", gzip.open(raw)) if head[:2] == _GZIP else raw
        with closing(opened):
            form, number = None, 0
            for block in _blocks(opened, path):
                lines = block.decode("utf-8", errors="replace").split("\n")
                lines = lines[:-1] if lines[-1] == "" else lines
                if form is None:
                    form = _TextForm.of(lines[0], path)
                    skipped = int(form.header)
                    lines, number = lines[skipped:], number + skipped
                yield form.batch(lines, number - int(form.header) + 1)
                number += len(lines)
                progress(min(raw.tell(), whole), whole)
    if form is None or number == int(form.header):
        raise IngestError(f"{path} has no row: leave it out, or export it again")


def _blocks(stream: IO[bytes], path: Path) -> Iterator[bytes]:
    """Yield blocks that end with a line."""
    rest = b""
    while True:
        try:
            read = stream.read(BLOCK_BYTES)
        except (EOFError, gzip.BadGzipFile, OSError) as error:
            raise IngestError(
                f"{path} is cut off or damaged ({error}): fetch it again, nothing of it was landed"
            ) from error
        if not read:
            break
        whole, found, rest = (rest + read).rpartition(b"\n")
        if found:
            yield whole + found
    if rest:
        yield rest


@dataclass(frozen=True)
class _TextForm:
    """The delimiter of a text file, and the place of each column in its fields."""

    delimiter: str
    fields: int
    places: Sequence[int]  # of COLUMNS
    header: bool

    @classmethod
    def of(cls, line: str, path: Path) -> _TextForm:
        """Tell the form from the first line.

        Raises:
            IngestError: it has another number of fields, or a header that lacks a column.
        """
        line = line.rstrip("\r")
        delimiter = "\t" if "\t" in line else ","
        first = line.split(delimiter)
        meant = [canonical(field) for field in first]
        if LABEL in meant:
            _require(meant, path)
            return cls(delimiter, len(first), [meant.index(name) for name in COLUMNS], True)
        if len(first) == len(COLUMNS):
            return cls(delimiter, len(first), range(len(COLUMNS)), False)
        remedy = (
            "the public test files have no label; take a training file or a day file"
            if len(first) == len(COLUMNS) - 1
            else "an ads log has a label, 13 counts and 26 categories, by tabs or commas, or a "
            "header that names label, I1 … I13 and C1 … C26"
        )
        raise IngestError(
            f"{path}: its first line has {len(first)} fields, {len(COLUMNS)} are needed: {remedy}"
        )

    def batch(self, lines: list[str], first: int) -> LogBatch:
        """Return the rows of lines; ``first`` is the number of the first one, from 1."""
        table = (
            pl.DataFrame({SOURCE_LINE: lines}, schema={SOURCE_LINE: pl.String})
            .select(pl.col(SOURCE_LINE).str.strip_suffix("\r"))
            .with_row_index(SOURCE_ROW, offset=first)
        )
        fields = pl.col(SOURCE_LINE).str.count_matches(self.delimiter, literal=True) + 1
        uneven = table.filter(fields != self.fields).with_columns(
            (fields.cast(pl.String) + f" fields, {self.fields} expected").alias(REASON)
        )
        even = table.filter(fields == self.fields)
        split = pl.col(SOURCE_LINE).str.split_exact(self.delimiter, self.fields - 1)
        texts = even.select(split.alias("split")).unnest("split")
        named = texts.select(
            texts.to_series(place).alias(name)
            for name, place in zip(COLUMNS, self.places, strict=True)
        )
        return _typed(named, even[SOURCE_ROW], lambda bad: even[SOURCE_LINE].filter(bad), uneven)


# --- Parquet --------------------------------------------------------------------------------------


def _parquet(path: Path, progress: Progress) -> Iterator[LogBatch]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise IngestError(f"{path} is no whole Parquet file ({error}): fetch it again") from error
    with file:
        meant = [canonical(name) for name in file.schema_arrow.names]
        _require(meant, path)
        names = [file.schema_arrow.names[meant.index(name)] for name in COLUMNS]
        whole, done = file.metadata.num_rows, 0
        if not whole:
            raise IngestError(f"{path} has no row: leave it out, or export it again")
        for batch in file.iter_batches(PARQUET_ROWS, columns=names):
            frame = cast("pl.DataFrame", pl.from_arrow(pa.Table.from_batches([batch])))
            texts = frame.select(
                pl.col(name).cast(pl.String).alias(column)
                for name, column in zip(names, COLUMNS, strict=True)
            ).with_columns(pl.col(COLUMNS).replace("NaN", None))
            numbers = pl.Series(SOURCE_ROW, range(done + 1, done + texts.height + 1), pl.UInt32)
            yield _typed(texts, numbers, _joined(texts), None)
            done += texts.height
            progress(done, whole)


def _joined(texts: pl.DataFrame) -> Callable[[pl.Series], pl.Series]:
    def lines(bad: pl.Series) -> pl.Series:
        text = pl.concat_str(pl.col(COLUMNS).fill_null(""), separator="\t")
        return texts.filter(bad).select(text.alias(SOURCE_LINE)).to_series()

    return lines


# --- both -----------------------------------------------------------------------------------------


def _require(meant: Sequence[str | None], path: Path) -> None:
    """Raise IngestError if a column is missing, or two names mean the same."""
    if missing := [name for name in COLUMNS if name not in meant]:
        raise IngestError(
            f"{path} has no column {', '.join(missing)}: name its columns label, I1 … I13 and "
            "C1 … C26"
        )
    if double := sorted({str(name) for name in meant if name and meant.count(name) > 1}):
        raise IngestError(f"{path} has {', '.join(double)} twice: leave one of them out")


def _typed(
    texts: pl.DataFrame,
    numbers: pl.Series,
    lines: Callable[[pl.Series], pl.Series],
    uneven: pl.DataFrame | None,
) -> LogBatch:
    """Convert texts to SCHEMA, and set aside the rows that cannot be.

    Args:
        texts: String, COLUMNS.
        numbers: of the rows in the file, from 1.
        lines: returns the text of the rows that a mask names.
        uneven: {source_row, source_line, reason}, rows that had no such columns.
    """
    texts = texts.with_columns(pl.col(COLUMNS).replace("", None))
    counts = texts.select(pl.col(LABEL, *INTEGERS).cast(pl.Float64, strict=False))
    together = pl.concat([texts, counts.rename(lambda name: f"{name}:n")], how="horizontal")
    reason = together.select(_reason().alias(REASON)).to_series()
    bad = reason.is_not_null()
    rejected = pl.DataFrame(
        {
            REASON: reason.filter(bad).cast(pl.String),
            SOURCE_ROW: numbers.filter(bad).cast(pl.Int64),
            SOURCE_LINE: lines(bad).cast(pl.String),
        }
    )
    if uneven is not None:
        other = uneven.select(rejected.columns).cast({SOURCE_ROW: pl.Int64})
        rejected = pl.concat([rejected, other]).sort(SOURCE_ROW)
    kept = pl.concat([counts, texts.select(CATEGORIES)], how="horizontal").filter(~bad)
    return LogBatch(kept.cast(dict(SCHEMA)).select(COLUMNS), rejected)  # type: ignore[arg-type]  # polars' own types


def _reason() -> pl.Expr:
    """Return why a row is set aside, the first reason of its columns; null: it is not."""
    label = pl.col(f"{LABEL}:n")
    found = [
        pl.when(pl.col(LABEL).is_null()).then(pl.lit(f"{LABEL} is empty")),
        pl.when(label.is_null() | ~label.is_in([0.0, 1.0])).then(pl.lit(f"{LABEL} is not 0 or 1")),
    ]
    for name in INTEGERS:
        number = pl.col(f"{name}:n")
        given = pl.col(name).is_not_null()
        whole = number.is_finite() & (number == number.floor())
        found += [
            pl.when(given & ~whole.fill_null(False)).then(pl.lit(f"{name} is no whole number")),
            pl.when(number.abs() > LARGEST).then(pl.lit(f"{name} is beyond 2^53")),
        ]
    for name in CATEGORIES:
        too_long = pl.col(name).str.len_chars() > LONGEST
        broken = pl.col(name).str.contains("\ufffd", literal=True)
        found += [
            pl.when(too_long).then(pl.lit(f"{name} is longer than {LONGEST} characters")),
            pl.when(broken).then(pl.lit(f"{name} is not UTF-8")),
        ]
    return pl.coalesce(found)
