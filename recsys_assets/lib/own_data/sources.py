"""Read the required columns of CSV and Parquet files in batches.

CSV values stay text, so that an id keeps its leading zeros and its digits beyond 2^53. Parquet
values keep their types.
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
    """Holds a CSV line that has more or fewer fields than the header."""

    row: int  # data row in its file, from 1
    text: str
    fields: int
    expected: int


@dataclass(frozen=True)
class Batch:
    """Holds consecutive rows of a file and the malformed lines among them."""

    frame: pl.DataFrame  # the requested columns
    rows: pl.Series  # int64: each row's number in its file, from 1, without the header
    malformed: tuple[MalformedLine, ...]


def find_files(sources: Sequence[str | Path]) -> list[Path]:
    """Return the data files of files, folders and globs, once each, sorted by path.

    Folders are searched recursively.

    Raises:
        IngestError: a source has no data file, or a file has an unknown suffix.
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
                f"{', '.join((*PARQUET, *CSV))}; check the path"
            )
        for file in files:
            if not _is_data(file):
                raise IngestError(
                    f"{file}: the file name must end in {', '.join((*PARQUET, *CSV))}; rename or "
                    "convert the file"
                )
            found[file.resolve()] = None
    return sorted(found)


def _is_data(path: Path) -> bool:
    return path.name.lower().endswith((*PARQUET, *CSV))


def is_parquet(path: Path) -> bool:
    """Return whether a file name ends like that of a Parquet file."""
    return path.name.lower().endswith(PARQUET)


def schema_of(path: Path) -> dict[str, pa.DataType] | None:
    """Return column → Arrow type of a file; None if it is empty or has no header.

    Every column of a CSV file is text.

    Raises:
        IngestError: the file cannot be read, or has two columns of the same name.
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
        raise IngestError(
            f"{path}: column {twice[0]!r} occurs more than once; rename one of the columns"
        )
    return dict(zip(names, types, strict=True)) or None


def _header(path: Path) -> tuple[list[str], str]:
    """Return the column names and the delimiter that splits the header most often."""
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            head = stream.read(1 << 16)
    except (pa.ArrowInvalid, OSError) as error:
        raise IngestError(f"{path} cannot be read: {_first_line(error)}") from error
    line = head.decode("utf-8-sig", errors="replace").split("\n", 1)[0].rstrip("\r")
    delimiter = max(DELIMITERS, key=lambda d: len(next(csv.reader([line], delimiter=d), [])))
    return next(csv.reader([line], delimiter=delimiter), []), delimiter


def read_batches(path: Path, columns: Iterable[str]) -> Iterator[Batch]:
    """Yield the batches of a file in its order; memory does not grow with the file.

    Only empty CSV fields are null ("NA" may be an id). UUIDs of Parquet become text in their usual
    form.

    Raises:
        IngestError: a part of the file cannot be read.
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
        number = row.number - 1  # Arrow counts the header too
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
    """Refuse a column whose type cannot hold an id exactly.

    Raises:
        IngestError: the column is neither text, bytes, integer, UUID nor a decimal of scale 0.
    """
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
            "string or an integer (pandas: .astype('Int64') keeps integers beside nulls)"
        )


def as_text(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Return a column of any type as text.

    Integers and text are exact. Bytes are read as UTF-8. Nested values become JSON.
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
