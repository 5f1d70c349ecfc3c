"""Find the files of a source, and read the required columns of each in batches.

Values of text files stay text, so that an id keeps its leading zeros and its digits beyond 2^53.
Values of Parquet and workbooks keep their types.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.batch import Batch, TextForm, numbered, refuse_repeated
from recsys_assets.lib.own_data.charsets import first_line
from recsys_assets.lib.own_data.delimited import DelimitedFile
from recsys_assets.lib.own_data.workbooks import SUFFIXES as WORKBOOK
from recsys_assets.lib.own_data.workbooks import read_workbook

PARQUET = (".parquet", ".pq")
TEXT = (".csv", ".tsv", ".txt")
COMPRESSED = tuple(text + end for text in TEXT for end in (".gz", ".bz2", ".zst"))
DATA = (*PARQUET, *TEXT, *COMPRESSED, *WORKBOOK)
#: What Arrow raises for a damaged file.
_DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)
BATCH_ROWS = 200_000
PLAIN = TextForm()
_OLDEST = pl.CompatLevel.oldest()

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar")
_JSON = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz")


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
                f"{', '.join(DATA)}; check the path"
            )
        for file in files:
            if not _is_data(file):
                raise IngestError(f"{file}: {_remedy(file)}")
            found[file.resolve()] = None
    return sorted(found)


def _is_data(path: Path) -> bool:
    return path.name.lower().endswith(DATA)


def _remedy(path: Path) -> str:
    name, known = path.name.lower(), ", ".join(DATA)
    if name.endswith(_ARCHIVES):
        kind = "a ZIP archive" if name.endswith(".zip") else "an archive"
        return f"{kind} is not read; unpack it, and give the file or folder inside"
    if name.endswith(_JSON):
        return f"{path.suffix} is not read; convert it to CSV or Parquet, with one row per object"
    return f"the file name must end in {known}; rename or convert the file"


def is_parquet(path: Path) -> bool:
    """Return whether a file name ends like that of a Parquet file."""
    return path.name.lower().endswith(PARQUET)


def is_workbook(path: Path) -> bool:
    """Return whether a file name ends like that of a workbook."""
    return path.name.lower().endswith(WORKBOOK)


def schema_of(path: Path, form: TextForm = PLAIN) -> dict[str, pa.DataType] | None:
    """Return column → Arrow type of a file; None if it is empty or has no header.

    Every column of a text file is text.

    Raises:
        IngestError: the file cannot be read, or has two columns of the same name.
    """
    if is_parquet(path):
        try:
            arrow = pq.read_schema(path)
        except _DAMAGED as error:
            raise IngestError(
                f"{path} is not a readable Parquet file: {first_line(error)}; if it was cut off, "
                "copy or export it again"
            ) from error
    elif is_workbook(path):
        arrow = read_workbook(path, form.names).to_arrow(compat_level=_OLDEST).schema
    else:
        arrow = pa.schema([(name, pa.string()) for name in DelimitedFile(path, form).names])
    refuse_repeated(path, arrow.names)
    if any("\0" in name for name in arrow.names):
        raise IngestError(f"{path}: a column's name holds a NUL byte; export the file again")
    return dict(zip(arrow.names, arrow.types, strict=True)) or None


def first_rows(path: Path, form: TextForm = PLAIN) -> list[list[str]]:
    """Return the fields of the first two lines of a text file; nothing of another file."""
    if is_parquet(path) or is_workbook(path):
        return []
    return DelimitedFile(path, form).first_rows


def read_batches(path: Path, columns: Iterable[str], form: TextForm = PLAIN) -> Iterator[Batch]:
    """Yield the batches of a file in its order; memory does not grow with a text or Parquet file.

    Only empty fields of text are null ("NA" may be an id). UUIDs of Parquet become text in their
    usual form.

    Raises:
        IngestError: a part of the file cannot be read.
    """
    columns = list(dict.fromkeys(columns))
    if is_parquet(path):
        yield from _parquet(path, columns)
    elif is_workbook(path):
        frame = read_workbook(path, form.names).select(columns)
        yield Batch(frame, numbered(0, frame.height))
    else:
        yield from DelimitedFile(path, form).batches(columns)


def _parquet(path: Path, columns: list[str]) -> Iterator[Batch]:
    done = 0
    try:
        with pq.ParquetFile(path) as file:
            for arrow in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                frame = _frame(arrow).select(columns)
                yield Batch(frame, numbered(done, frame.height))
                done += frame.height
    except _DAMAGED as error:
        raise IngestError(
            f"{path} cannot be read: {first_line(error)}; if it was damaged, copy or export it "
            "again"
        ) from error


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
        if is_workbook(path):
            raise IngestError(
                f"{path}: column {column!r} cannot hold an id exactly: its cells are numbers with "
                "a fraction or of more than 15 digits, which spreadsheets round; export the ids "
                "again as text"
            )
        raise IngestError(
            f"{path}: column {column!r} is {kind}, which cannot hold an id exactly; write it as a "
            "string or an integer (pandas: .astype('Int64') keeps integers beside nulls)"
        )


def as_text(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Return a column of any type as text.

    Integers and text are exact. Bytes are read as UTF-8. Nested values become JSON.
    """
    dtype = frame.schema[column]
    if dtype == pl.Binary:
        return pl.col(column).cast(pl.String, strict=False)
    if dtype.is_nested():
        named = pl.struct(column).struct.json_encode()  # {"column":value}
        value = named.str.slice(len(json.dumps(column, ensure_ascii=False)) + 2).str.head(-1)
        return pl.when(pl.col(column).is_not_null()).then(value).alias(column)
    return pl.col(column).cast(pl.String)
