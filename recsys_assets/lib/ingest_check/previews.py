"""Look at the first rows of files: their form, and the columns that nothing uses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from recsys_assets.lib.ingest_check.readings import EXAMPLES, ColumnReading
from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.batch import Batch, TextForm
from recsys_assets.lib.own_data.delimited import DelimitedFile
from recsys_assets.lib.own_data.sources import (
    as_text,
    find_files,
    is_parquet,
    is_workbook,
    read_batches,
    schema_of,
)
from recsys_assets.lib.own_data.tables import YAML

MOST_FILES = 20  # files of a source that are looked at
_MOST_COLUMNS = 40
_SAMPLE_ROWS = 2_000  # rows in which examples of unused columns are looked for
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_CHARSETS = {"utf-8": "UTF-8", "cp1252": "Windows-1252 (Western European)"}


@dataclass
class FilePreview:
    """Says what a file looks like.

    Attributes:
        path: the file.
        size: bytes.
        form: in words: kind, charset, delimiter.
        columns: names.
        rows: the first rows, as text.
        problem: why the file cannot be opened; empty: it can.
        sample: the first columns of more rows, as text.
    """

    path: Path
    size: int = 0
    form: str = ""
    columns: list[str] = field(default_factory=list)
    rows: list[tuple[str | None, ...]] = field(default_factory=list)
    problem: str = ""
    sample: pl.DataFrame = field(default_factory=pl.DataFrame)


def previews(sources: Sequence[str | Path], form: TextForm) -> tuple[list[FilePreview], int]:
    """Return what the first files of a source look like, and how many files it has.

    A file that cannot be read is described as far as it can.
    """
    if len(sources) == 1 and str(sources[0]).lower().endswith(YAML):
        path = Path(sources[0])
        size = path.stat().st_size if path.is_file() else 0
        return [FilePreview(path, size, "YAML of the Retail Demo Store's form")], 1
    try:
        files = find_files(sources)
    except IngestError as error:
        return [FilePreview(Path(str(sources[0])), problem=str(error))], 0
    return [_preview(path, form) for path in files[:MOST_FILES]], len(files)


def _preview(path: Path, form: TextForm) -> FilePreview:
    found = FilePreview(path, path.stat().st_size)
    try:
        if is_parquet(path) or is_workbook(path):
            found.form = "Parquet" if is_parquet(path) else "workbook"
        found.columns = list(schema_of(path, form) or ())  # refuses what no reader takes
        columns = found.columns[:_MOST_COLUMNS]
        if found.form:
            _take(found, next(read_batches(path, columns, form), None) if columns else None)
        else:
            text = DelimitedFile(path, form)
            _take(found, next(text.batches(columns), None))
            found.form = _form_of(text)
    except IngestError as error:
        found.problem = str(error)
    return found


def _form_of(text: DelimitedFile) -> str:
    """Return charset and delimiter in words; the charset is known after the first batch."""
    charset = f"text, letters as {_CHARSETS.get(text.charset, text.charset)}"
    if len(text.names) == 1:
        return f"{charset}, one column"
    delimiter = _DELIMITERS.get(text.delimiter, repr(text.delimiter))
    return f"{charset}, columns separated by {delimiter}"


def _take(found: FilePreview, batch: Batch | None) -> None:
    if batch is None or batch.frame.is_empty():
        return
    sample = batch.frame.head(_SAMPLE_ROWS)
    found.sample = sample.select(as_text(sample, name) for name in sample.columns)
    found.rows = found.sample.head(EXAMPLES).rows()


def unused_columns(found: Sequence[FilePreview], used: Collection[str]) -> list[ColumnReading]:
    """Return the columns of a source that are not used, with examples."""
    readings: dict[str, ColumnReading] = {}
    for one in found:
        for name in one.columns:
            if name in used or name in readings:
                continue
            readings[name] = ColumnReading(name, None, first_values([one], name))
    return list(readings.values())


def first_values(found: Sequence[FilePreview], column: str) -> list[tuple[str, str | None]]:
    """Return the first distinct values of a column as pairs (value, None): it is not read."""
    for one in found:
        if column in one.sample.columns:
            values = one.sample[column].drop_nulls().unique(maintain_order=True)
            return [(value, None) for value in values.head(EXAMPLES)]
    return []
