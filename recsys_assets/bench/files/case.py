"""Describe one small file with its right reading, and write bytes of every form."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

import polars as pl
from PIL import Image

#: Writes a file that is too large to hold as bytes.
Writer = Callable[[Path], None]
Cell = str | int | float | None
Kind = Literal["log", "items", "users"]
LOG_HEADER = "user_id,item_id,timestamp"


@dataclass(frozen=True)
class Reading:
    """Holds what a correct reader makes of the files.

    Attributes:
        columns: compared columns of the landed table. ``time`` is the timestamp as ISO UTC text,
            ``tags`` the item's tags.
        rows: landed rows in their order: of a log, the order in which the graph reads the events.
        rejected: number of rows in the quarantine.
        says: parts of the report that name what was adjusted.
        places: positions of the rows to compare; None: all.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[object, ...]]
    rejected: int = 0
    says: Sequence[str] = ()
    places: Sequence[int] | None = None


@dataclass(frozen=True)
class Refusal:
    """Holds the parts of the error that name the field and the remedy."""

    says: Sequence[str]


@dataclass(frozen=True)
class FileCase:
    """Describes files and their right reading.

    Attributes:
        name: of the case; a key of the figures.
        form: what is special, in words.
        files: file name → content.
        expected: written by hand.
        kind: the table that the files hold.
        options: of LogRules for a log, else of Request.
        source: the file or folder to ingest; None: the first file.
    """

    name: str
    form: str
    files: Mapping[str, bytes | Writer]
    expected: Reading | Refusal
    kind: Kind = "log"
    options: Mapping[str, object] = field(default_factory=dict)
    source: str | None = None


def text(*lines: str, end: str = "\n", encoding: str = "utf-8") -> bytes:
    """Return lines as a text file."""
    return "".join(line + end for line in lines).encode(encoding)


def log_text(*rows: str, end: str = "\n", encoding: str = "utf-8") -> bytes:
    """Return a comma-separated log of user, item and time."""
    return text(LOG_HEADER, *rows, end=end, encoding=encoding)


def events(*rows: tuple[str, str, str], rejected: int = 0, says: Sequence[str] = ()) -> Reading:
    """Return the reading of a log: user, item and ISO time UTC of each row."""
    return Reading(("user_id", "item_id", "time"), rows, rejected, says)


def named(*rows: tuple[str, str], rejected: int = 0, says: Sequence[str] = ()) -> Reading:
    """Return the reading of a catalogue: item and name of each row."""
    return Reading(("item_id", "name"), rows, rejected, says)


def priced(*rows: tuple[str, float | None], says: Sequence[str] = ()) -> Reading:
    """Return the reading of a catalogue: item and price of each row."""
    return Reading(("item_id", "price"), rows, 0, says)


def gzipped(content: bytes) -> bytes:
    """Return a gzip file; the same bytes each time."""
    return gzip.compress(content, mtime=0)


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def parquet(columns: Mapping[str, object]) -> bytes:
    """Return a Parquet file."""
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


def picture(kind: str, mode: str = "RGB") -> bytes:
    """Return a small picture; kind is a format of Pillow."""
    buffer = io.BytesIO()
    Image.effect_noise((48, 32), 60).convert(mode).save(buffer, kind)
    return buffer.getvalue()


_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/xl/workbook.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>'
    '<Override PartName="/xl/styles.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/></Types>'
)
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELS = "http://schemas.openxmlformats.org/package/2006/relationships"
#: Style 0 is a plain number, style 1 a date with a time.
_STYLES = (
    f'<styleSheet xmlns="{_MAIN}"><cellXfs count="2"><xf numFmtId="0"/>'
    '<xf numFmtId="22" applyNumberFormat="1"/></cellXfs></styleSheet>'
)


@dataclass(frozen=True)
class ExcelTime:
    """Holds a date cell as Excel stores it: days since 1899-12-30."""

    days: float


def workbook(**sheets: Sequence[Sequence[Cell | ExcelTime]]) -> bytes:
    """Return an Excel workbook (.xlsx), with the cells that Excel itself writes."""
    parts = {
        "[Content_Types].xml": _TYPES,
        "_rels/.rels": f'<Relationships xmlns="{_RELS}"><Relationship Id="r0" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/styles.xml": _STYLES,
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
        + "".join(
            f'<sheet name="{name}" sheetId="{n}" r:id="s{n}"/>' for n, name in enumerate(sheets, 1)
        )
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_RELS}">'
        + "".join(
            f'<Relationship Id="s{n}" Type="{_OFFICE}/worksheet" Target="worksheets/s{n}.xml"/>'
            for n in range(1, len(sheets) + 1)
        )
        + f'<Relationship Id="st" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
    }
    for n, rows in enumerate(sheets.values(), 1):
        parts[f"xl/worksheets/s{n}.xml"] = (
            f'<worksheet xmlns="{_MAIN}"><sheetData>'
            + "".join(
                f'<row r="{r}">'
                + "".join(
                    _cell(chr(65 + column) + str(r), value) for column, value in enumerate(row)
                )
                + "</row>"
                for r, row in enumerate(rows, 1)
            )
            + "</sheetData></worksheet>"
        )
    return zipped({name: content.encode() for name, content in parts.items()})


def _cell(place: str, value: Cell | ExcelTime) -> str:
    if value is None:
        return ""
    if isinstance(value, ExcelTime):
        return f'<c r="{place}" s="1"><v>{value.days!r}</v></c>'
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f'<c r="{place}"><v>{value!r}</v></c>'
