"""Read delimited text (CSV, TSV and similar forms) in batches of text columns.

Delimiter and header are detected from the first lines. The delimiter is the one that splits most
lines as it splits the first one; of equals, the one that gives more fields.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data.batch import Batch, MalformedLine, TextForm, all_named, numbered
from recsys_assets.lib.own_data.charsets import UNDECODED, TextFile, first_line
from recsys_assets.lib.own_data.records import Records, original, split_line

DELIMITERS = (",", ";", "\t", "|")
_HEAD_LINES = 200
_SEP = re.compile(r'^"?sep=([,;|\t:~^])"?$', re.IGNORECASE)
_SAMPLE = 60  # characters of a line that a message shows


class DelimitedFile:
    """Opens a delimited file; ``batches`` reads it once per object.

    Args:
        path: the file.
        form: names of the columns and charset, if given.

    Raises:
        IngestError: the file is no table.

    Attributes:
        names: of the columns; empty if the file is empty. A column without a name gets its number.
        first_rows: fields of the first rows, for messages.
        delimiter: one character.
    """

    def __init__(self, path: Path, form: TextForm) -> None:
        self._path, self._text = path, TextFile(path, form.encoding)
        self._blocks = iter(self._text)
        head = b""
        while head.count(b"\n") < _HEAD_LINES and (more := next(self._blocks, b"")):
            head += more  # what follows the last line end is a block of its own
        lines = _Lines(head)
        self.delimiter = ""
        if UNDECODED in lines.peek():
            raise IngestError(
                f"{path}: the charset of its first line cannot be told; name it with --encoding, "
                "or export the file again as UTF-8"
            )
        if (sep := _SEP.match(lines.peek())) is not None:
            self.delimiter = sep.group(1)
            lines.drop()
        sample = [one for one in lines.sample() if UNDECODED not in one]
        if not self.delimiter:
            self.delimiter = detect_delimiter(sample, len(form.names) or None)
        rows = [split_line(line, self.delimiter) for line in sample]
        self._padded = False
        if form.names:
            self._check_given(form, rows)
            names = list(form.names)
        elif rows:
            self._check_title(sample)
            names = self._header(rows)
            lines.drop()
        else:
            names = []
        self.names = all_named(names)
        self.first_rows = rows[:2]
        self._body = lines.rest()

    @property
    def charset(self) -> str:
        """Return the charset, as far as the file was read."""
        return self._text.charset

    def _header(self, rows: Sequence[Sequence[str]]) -> list[str]:
        header = list(rows[0])
        self._padded = any(name != name.strip() for name in header)
        more = [len(row) == len(header) + 1 and row[-1] == "" for row in rows[1:]]
        if more and all(more):
            header.append("")  # a delimiter ends every row, and not the header
        return [name.strip() for name in header]

    def _check_given(self, form: TextForm, rows: Sequence[Sequence[str]]) -> None:
        if not rows:
            return
        said = ", ".join(form.names)
        if len(rows[0]) != len(form.names):
            raise IngestError(
                f"{form.option} {said} names {len(form.names)} columns, and the first line of "
                f"{self._path} has {len(rows[0])}: name every column, in order"
            )
        known = {plain(name) for name in form.names}
        if any(plain(field) in known for field in rows[0]):
            raise IngestError(
                f"{form.option} {said}: the first line of {self._path} is a header; leave "
                f"{form.option} out, and map its columns by name"
            )

    def _check_title(self, sample: Sequence[str]) -> None:
        """Refuse a title above the header.

        Raises:
            IngestError: names the line.
        """
        for delimiter in DELIMITERS:
            counts = [len(split_line(line, delimiter)) for line in sample]
            rows = Counter(counts[1:])
            usual, number = max(rows.items(), key=lambda one: one[1], default=(1, 0))
            if max(counts[:1], default=0) == 1 and usual > 1 and number >= 2:
                if number < 0.8 * len(counts[1:]) or self.delimiter in sample[0]:
                    continue
                raise IngestError(
                    f"{self._path}: line 1 ({sample[0][:_SAMPLE]!r}) has one field, and the lines "
                    f"below have {usual}: remove what stands above the header"
                )

    def batches(self, columns: list[str]) -> Iterator[Batch]:
        """Yield the batches of the file in its order; memory does not grow with the file.

        Only empty fields are null ("NA" may be an id).

        Args:
            columns: those to read, of ``names``.
        """
        if not self.names:
            return
        blocks = chain([self._body] if self._body else [], self._blocks)
        records = Records(blocks, self.delimiter, len(self.names))
        done = literal = 0
        for block in records:
            malformed: list[MalformedLine] = []
            frame = self._parsed(block, columns, malformed)
            # a row's place among all rows: behind the malformed lines that precede it
            before = np.array([line.row - 1 - n for n, line in enumerate(malformed)], np.int64)
            places = numbered(0, frame.height)
            places += np.searchsorted(before, places.to_numpy(), side="left")
            yield Batch(
                self._cleaned(frame, records.formulas),
                places.cast(pl.Int64) + done,
                tuple(replace(line, row=line.row + done) for line in malformed),
                records.literal - literal,
                tuple(self._text.notes),
            )
            done += frame.height + len(malformed)
            literal = records.literal

    def _parsed(
        self, block: bytes, columns: list[str], malformed: list[MalformedLine]
    ) -> pl.DataFrame:
        """Return the sound rows of a block of whole rows; append the others to ``malformed``."""
        if not block.strip(b"\n"):  # Arrow calls it an error
            return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))

        def keep(row: pa_csv.InvalidRow) -> str:
            text = original(row.text)
            malformed.append(
                MalformedLine(row.number, text, row.actual_columns, row.expected_columns)
            )
            return "skip"

        try:
            table = pa_csv.read_csv(
                pa.BufferReader(block),
                read_options=pa_csv.ReadOptions(
                    use_threads=False, block_size=len(block) + 1, column_names=self.names
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=keep
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(self.names, pa.string()),
                    null_values=[""],
                    strings_can_be_null=True,
                    include_columns=columns,
                ),
            )
        except pa.ArrowInvalid as error:
            raise IngestError(
                f"{self._path} cannot be read: {first_line(error)}; export it as CSV again"
            ) from error
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _cleaned(self, frame: pl.DataFrame, formulas: bool) -> pl.DataFrame:
        """Drop the blanks that pad every field, and Excel's ="…" around text."""
        text = pl.all()
        if self._padded:
            text = text.str.strip_chars(" \t").replace("", None)
        if formulas:
            text = text.str.replace(r'^="([^"]*)"$', "$1")
        return frame.with_columns(text) if self._padded or formulas else frame


class _Lines:
    """Walks over the lines at the begin of a block; blank lines are passed over."""

    def __init__(self, block: bytes) -> None:
        self._block, self._at = block, 0
        self._pass_blank()

    def _pass_blank(self) -> None:
        while (end := self._block.find(b"\n", self._at)) >= 0:
            if self._block[self._at : end].strip():
                return
            self._at = end + 1

    def peek(self) -> str:
        """Return the next line; empty at the end."""
        end = max(self._block.find(b"\n", self._at), self._at)
        return self._block[self._at : end].decode()

    def drop(self) -> None:
        """Go behind the next line."""
        self._at = self._block.find(b"\n", self._at) + 1
        self._pass_blank()

    def sample(self) -> list[str]:
        """Return the next lines, without blank ones."""
        block, found, at = self._block, list[str](), self._at
        while at < len(block) and len(found) < _HEAD_LINES:
            end = block.find(b"\n", at)
            if block[at:end].strip():
                found.append(block[at:end].decode())
            at = end + 1
        return found

    def rest(self) -> bytes:
        """Return what follows."""
        return self._block[self._at :]


def detect_delimiter(lines: Sequence[str], fields: int | None = None) -> str:
    """Return the delimiter of lines.

    Args:
        lines: the first lines, the header first.
        fields: number of columns, if known.

    >>> detect_delimiter(["item_id;price", "a;1,50", "b;2,25"])
    ';'
    """

    def score(delimiter: str) -> tuple[bool, float, int]:
        counts = [len(split_line(line, delimiter)) for line in lines]
        if not counts or counts[0] < 2:
            return False, 0.0, 0
        alike = sum(count == counts[0] for count in counts) / len(counts)
        return counts[0] == fields, alike, counts[0]

    return max(DELIMITERS, key=score)


def plain(name: str) -> str:
    """Return a name without case, blanks and punctuation.

    >>> plain("User ID") == plain("user_id") == plain("UserId")
    True
    """
    return re.sub(r"[\W_]", "", name.lower())
