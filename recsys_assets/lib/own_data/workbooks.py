"""Read the one sheet of a workbook (Excel, OpenDocument) that has rows."""

from __future__ import annotations

import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
from python_calamine import CalamineError, CalamineWorkbook

from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.batch import all_named, refuse_repeated

SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
#: Excel keeps 15 digits of a number.
_EXACT = 10**15
_MARKUP = (b"<", b"\xef\xbb\xbf<")


def read_workbook(path: Path, names: tuple[str, ...] = ()) -> pl.DataFrame:
    """Return the sheet that has rows.

    A column of whole numbers becomes Int64, of numbers Float64, of dates Datetime. Any other is
    text: numbers in it get a decimal point.

    Args:
        path: the workbook.
        names: of the columns; empty: the first row has them.

    Raises:
        IngestError: the file is no workbook, or several sheets have rows.
    """
    with path.open("rb") as file:
        head = file.read(256).lstrip()
    if head.startswith(_MARKUP):
        raise IngestError(
            f"{path} is HTML or XML, not a workbook: open it in a spreadsheet and save it as CSV, "
            "with id columns as text"
        )
    try:
        book = CalamineWorkbook.from_path(str(path))
        sheets = {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}
    except (CalamineError, OSError, zipfile.BadZipFile) as error:
        raise IngestError(
            f"{path} is not a readable workbook: {error}; save it again, or as CSV"
        ) from error
    filled = {name: rows for name, rows in sheets.items() if any(map(any, rows))}
    if len(filled) > 1:
        raise IngestError(
            f"{path} has rows in {len(filled)} sheets ({', '.join(filled)}): save the sheet to "
            "ingest as a file of its own"
        )
    rows = [row for row in next(iter(filled.values()), []) if any(cell != "" for cell in row)]
    if not rows:
        return pl.DataFrame()
    header = list(names) if names else [str(cell).strip() for cell in rows.pop(0)]
    if names and len(names) != len(rows[0]):
        raise IngestError(f"{path} has {len(rows[0])} columns, not {len(names)}: name every column")
    titles = all_named(header)
    refuse_repeated(path, titles)
    return pl.DataFrame(
        [
            _column(name, [row[n] if n < len(row) else "" for row in rows])
            for n, name in enumerate(titles)
        ]
    )


def _column(name: str, cells: list[Any]) -> pl.Series:
    values = [None if cell == "" else cell for cell in cells]
    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {int, float}:
        whole = all(v is None or (v == int(v) and abs(v) < _EXACT) for v in values)
        return pl.Series(name, values, pl.Int64 if whole else pl.Float64, strict=False)
    if kinds and kinds <= {datetime, date}:
        moments = [datetime(v.year, v.month, v.day) if type(v) is date else v for v in values]
        return pl.Series(name, moments, pl.Datetime("us"))
    return pl.Series(name, [None if v is None else _text(v) for v in values], pl.String)


def _text(value: Any) -> str:
    if isinstance(value, float) and value == int(value) and abs(value) < _EXACT:
        return str(int(value))
    if isinstance(value, float):
        # Beside text, 1.125 would look like a thousand and more.
        text = repr(value)
        return text + "0" if len(text.partition(".")[2]) == 3 else text
    return value.isoformat(" ") if isinstance(value, datetime) else str(value)
