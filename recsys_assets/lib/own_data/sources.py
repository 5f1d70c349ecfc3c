"""Reads a person's own files, CSV or Parquet, in batches: only the columns asked for, every value
as it was given.

CSV values stay text, so that an id keeps its leading zeros and its digits beyond 2^53; Parquet
keeps its types.
"""

from __future__ import annotations

import csv
import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recsys_assets.lib.landing.zone import IngestError

PARQUET, CSV = (".parquet", ".pq"), (".csv", ".tsv", ".csv.gz", ".tsv.gz")
DELIMITERS = (",", ";", "\t", "|")
BATCH_ROWS = 200_000
_CSV_BLOCK = 8 << 20  # bytes


@dataclass(frozen=True)
class MalformedLine:
    row: int  # data row in its file, from 1
    text: str
    fields: int
    expected: int


@dataclass(frozen=True)
class Batch:
    """frame: the columns asked for; rows: int64, each row's number in its file, from 1 (without the
    header).
    """

    frame: pl.DataFrame
    rows: pl.Series
    malformed: tuple[MalformedLine, ...]


def find_files(sources: Sequence[str | Path]) -> list[Path]:
    """Files, folders (searched whole) and globs → data files, once each, sorted by path.

    Raises IngestError for a source that gives no file.
    """
    found: dict[Path, None] = {}
    for source in map(str, sources):
        path = Path(source)
        if path.is_file():
            files = [path]
        elif path.is_dir():
            files = [
                p
                for p in path.rglob("*")
                if p.is_file()
                and _is_data(p)
                and not any(part.startswith((".", "_")) for part in p.relative_to(path).parts)
            ]
        else:
            files = [Path(p) for p in glob.glob(source, recursive=True) if Path(p).is_file()]
        if not files:
            raise IngestError(
                f"{source}: no such file, or a folder or glob without a file that ends in "
                f"{', '.join((*PARQUET, *CSV))}"
            )
        for file in files:
            if not _is_data(file):
                raise IngestError(f"{file}: must end in {', '.join((*PARQUET, *CSV))}")
            found[file.resolve()] = None
    return sorted(found)


def _is_data(path: Path) -> bool:
    return path.name.lower().endswith((*PARQUET, *CSV))


def is_parquet(path: Path) -> bool:
    return path.name.lower().endswith(PARQUET)


def schema_of(path: Path) -> dict[str, pa.DataType] | None:
    """Column → Arrow type (text throughout for CSV); None for a file of no bytes or no header.

    Raises IngestError for a file that cannot be read, or that names a column twice.
    """
    if is_parquet(path):
        try:
            arrow = pq.read_schema(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise IngestError(
                f"{path} is not a readable Parquet file: {_first_line(error)}"
            ) from error
        names, types = arrow.names, arrow.types
    else:
        names = _header(path)[0]
        types = [pa.string()] * len(names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise IngestError(f"{path}: column {twice[0]!r} occurs more than once; rename it")
    return dict(zip(names, types, strict=True)) or None


def _header(path: Path) -> tuple[list[str], str]:
    """Column names and the delimiter: of the usual ones, the one that splits the header most."""
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            head = stream.read(1 << 16)
    except (pa.ArrowInvalid, OSError) as error:
        raise IngestError(f"{path} cannot be read: {_first_line(error)}") from error
    line = head.decode("utf-8-sig", errors="replace").split("\n", 1)[0].rstrip("\r")
    delimiter = max(DELIMITERS, key=lambda d: len(next(csv.reader([line], delimiter=d), [])))
    return next(csv.reader([line], delimiter=delimiter), []), delimiter


def read_batches(path: Path, columns: Iterable[str]) -> Iterator[Batch]:
    """Batches of a file in its order; memory does not grow with the file.

    Empty CSV fields are null; no other word is ("NA" may be an id). UUIDs of Parquet become their
    usual text.
    Raises IngestError where the file breaks in the middle.
    """
    columns = list(dict.fromkeys(columns))
    try:
        yield from (_parquet if is_parquet(path) else _csv)(path, columns)
    except pa.ArrowInvalid as error:
        remedy = "; save it as UTF-8" if "UTF8" in str(error) else ""
        raise IngestError(f"{path} cannot be read: {_first_line(error)}{remedy}") from error


def _parquet(path: Path, columns: list[str]) -> Iterator[Batch]:
    done = 0
    with pq.ParquetFile(path) as file:
        for arrow in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            frame = _frame(arrow).select(columns)
            yield Batch(frame, _numbers(done, frame.height), ())
            done += frame.height


def _csv(path: Path, columns: list[str]) -> Iterator[Batch]:
    names, delimiter = _header(path)
    if not names:
        return
    pending: list[MalformedLine] = []
    gaps: list[int] = []  # for each malformed line, the number of sound rows before it

    def keep(row: pa_csv.InvalidRow) -> str:
        number = row.number - 1  # its count starts with the header
        gaps.append(number - 1 - len(gaps))
        pending.append(MalformedLine(number, row.text, row.actual_columns, row.expected_columns))
        return "skip"

    reader = pa_csv.open_csv(
        str(path),
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=keep
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            null_values=[""],
            strings_can_be_null=True,
            include_columns=columns,
        ),
    )
    done = 0
    for arrow in reader:
        frame = _frame(arrow)
        rows = _numbers(done, frame.height)
        rows = rows + pl.Series(
            np.searchsorted(np.array(gaps, np.int64), rows.to_numpy(), side="left"), dtype=pl.Int64
        )
        done += frame.height
        malformed, pending[:] = tuple(pending), []
        yield Batch(frame, rows, malformed)
    if pending:
        empty = pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
        yield Batch(empty, pl.Series(dtype=pl.Int64), tuple(pending))


def _numbers(done: int, n: int) -> pl.Series:
    return pl.int_range(done + 1, done + n + 1, dtype=pl.Int64, eager=True)


def _is_uuid(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.UuidType) or (
        pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16
    )


def _frame(arrow: pa.RecordBatch) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches([arrow]))
    assert isinstance(frame, pl.DataFrame)
    uuids = [field.name for field in arrow.schema if _is_uuid(field.type)]
    return frame.with_columns(_uuid_text(name) for name in uuids)


def _uuid_text(column: str) -> pl.Expr:
    digits = pl.col(column).bin.encode("hex")
    parts = [
        digits.str.slice(start, length)
        for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))
    ]
    return pl.concat_str(parts, separator="-").alias(column)


def check_id_type(path: Path, column: str, kind: pa.DataType) -> None:
    """Raises IngestError for a type that cannot hold an id exactly."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    decimal = pa.types.is_decimal(kind) and kind.scale == 0
    text = (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
    raw = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if not (
        text
        or raw
        or decimal
        or pa.types.is_integer(kind)
        or pa.types.is_null(kind)
        or _is_uuid(kind)
    ):
        raise IngestError(
            f"{path}: column {column!r} is {kind}, which cannot hold an id exactly; write it as a "
            "string "
            "or an integer (pandas: .astype('Int64') keeps integers beside nulls)"
        )


def as_text(frame: pl.DataFrame, column: str) -> pl.Expr:
    """A column as text, whatever its type: integers and text exactly; bytes as UTF-8; nested values
    as JSON.
    """
    dtype = frame.schema[column]
    if dtype == pl.Binary or dtype.is_nested():
        text = (
            pl.col(column).cast(pl.String, strict=False)
            if dtype == pl.Binary
            else (pl.struct(column).struct.json_encode())
        )
        return text.alias(column)
    return pl.col(column).cast(pl.String)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
