"""Bring the quotes of delimited text into the one form that every CSV parser reads alike.

RFC 4180 says how quotes are written, and many exports do not keep to it: inches (5" pipe), quotes
that open and never close, quotes escaped by a backslash. A parser that trusts them reads on over
the line end and makes two rows one. Sound blocks pass unchanged, checked by NumPy; the others are
rewritten row by row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

from recsys_assets.lib.own_data.charsets import LONGEST_LINE, UNDECODED

#: Most lines and characters of one quoted field. Beyond, its quote counts as text.
MOST_LINES, MOST_CHARACTERS = 500, 1 << 18
_QUOTE, _NEWLINE = ord('"'), ord("\n")
_MARK = UNDECODED.encode()
_FORMULA = b'="'


class Records:
    """Yields the blocks of a file with sound quotes, each ending after a whole row.

    A row that cannot be read becomes one field that begins with UNDECODED. See ``original``.

    Args:
        blocks: UTF-8, each ending with a line end, without the header.
        delimiter: one character.
        fields: number of columns.

    Attributes:
        literal: rows whose stray quotes were taken as text.
        formulas: whether a field may be an Excel formula of the form ="007".
    """

    def __init__(self, blocks: Iterable[bytes], delimiter: str, fields: int) -> None:
        self._blocks, self._fields = blocks, fields
        self._line = _LineParser(delimiter, fields)
        self._delimiter = delimiter
        self.literal = 0
        self.formulas = False

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        for block in self._blocks:
            done, rest = self._take(rest + block if rest else block, last=False)
            if done:
                yield done
        if rest:
            yield self._take(rest, last=True)[0]

    def _take(self, data: bytes, last: bool) -> tuple[bytes, bytes]:
        """Return (whole rows with sound quotes, the begin of a row that goes on)."""
        quoted = b'"' in data
        if not quoted and _MARK not in data:
            return data, b""
        self.formulas = self.formulas or (quoted and _FORMULA in data)
        cut = self._sound(data) if _MARK not in data else None
        if cut is not None and (cut == len(data) or (cut and not last)):
            return data[:cut], data[cut:]
        if cut == 0 and not last and len(data) <= LONGEST_LINE:
            return b"", data
        return self._repaired(data, last)

    def _sound(self, data: bytes) -> int | None:
        """Return the length of the whole rows; None where a quote or a line end needs a look."""
        text = np.frombuffer(data, np.uint8)
        quotes = np.flatnonzero(text == _QUOTE)
        ends = np.flatnonzero(text == _NEWLINE)
        inside = np.searchsorted(quotes, ends) & 1
        outer = ends[inside == 0]
        cut = int(outer[-1]) + 1 if len(outer) else 0
        if inside[: np.searchsorted(ends, cut)].any():
            return None  # line ends in quotes: honest, or two rows that would become one
        quotes = quotes[: np.searchsorted(quotes, cut)]
        beside = (ord(self._delimiter), _NEWLINE, _QUOTE)
        before = text[quotes[::2] - 1][quotes[::2] > 0]
        after = text[quotes[1::2] + 1]
        return cut if np.isin(before, beside).all() and np.isin(after, beside).all() else None

    def _repaired(self, data: bytes, last: bool) -> tuple[bytes, bytes]:
        lines = data.decode().split("\n")[:-1]
        done, at = list[str](), 0
        while at < len(lines):
            line = lines[at]
            if UNDECODED in line:
                done.append(self._rejected(line))
                at += 1
            elif '"' not in line:
                done.append(line)
                at += 1
            else:
                taken = self._row(lines, at, last)
                if taken == 0:
                    break
                done.append(self._written(lines[at : at + taken]))
                at += taken
        rest = "".join(line + "\n" for line in lines[at:])
        return "".join(row + "\n" for row in done).encode(), rest.encode()

    def _row(self, lines: list[str], at: int, last: bool) -> int:
        """Return the number of lines of the row that begins here; 0: it is not here whole."""
        if not self._line.is_open(lines[at]):
            return 1
        quotes, size = lines[at].count('"'), len(lines[at])
        for n, line in enumerate(lines[at + 1 : at + MOST_LINES], 2):
            quotes, size = quotes + line.count('"'), size + len(line)
            if size > MOST_CHARACTERS or UNDECODED in line:
                return 1
            if '"' in line and quotes % 2 == 0:
                return n if self._line.strict("\n".join(lines[at : at + n])) is not None else 1
        return 1 if last or len(lines) - at > MOST_LINES else 0

    def _written(self, lines: list[str]) -> str:
        """Return the row of these lines, with sound quotes."""
        if len(lines) > 1:
            kept = _same_row(lines, self._delimiter, self._fields)
            if kept is None:  # each line counts, for each may be a row
                return "\n".join(map(self._rejected, lines))
            if kept is False:
                return "\n".join(self._written([line]) for line in lines)
        text = "\n".join(lines)
        row, literal = self._line.read(text)
        if row is None:
            return self._rejected(text)
        self.literal += literal
        # a row of one empty field is no blank line
        return self._delimiter.join(map(self._quoted, row)) or '""'

    def _quoted(self, field: str) -> str:
        plain = not any(sign in field for sign in (self._delimiter, '"', "\n"))
        return field if plain else '"' + field.replace('"', '""') + '"'

    def _rejected(self, text: str) -> str:
        """Return a row of a wrong number of fields, from which ``original`` gets the text."""
        one = '"' + UNDECODED + text.replace(UNDECODED, "").replace('"', '""') + '"'
        return one if self._fields > 1 else one + self._delimiter


def original(text: str) -> str:
    """Return the source's text of a row that the parser rejected.

    >>> original('"' + UNDECODED + 'a ""b"", c"')
    'a "b", c'
    """
    if not text.startswith('"' + UNDECODED):
        return text
    return text[2 : text.rindex('"')].replace('""', '"')


def _same_row(lines: list[str], delimiter: str, fields: int) -> bool | None:
    """Return whether lines that quotes hold together are one row; None: nobody can tell.

    Each line may also be a row with a stray quote, if it has as many fields as the header. In a TSV
    it is one: line ends inside its fields are rare, and stray quotes are not. In a CSV it is none
    where a column is a number (or a date) in one of the lines alone.
    """
    first = lines[0].split(delimiter)
    if fields == 1 or len(first) != fields:
        return True
    for line in lines[1:]:
        other = line.split(delimiter)
        if len(other) != fields:
            continue
        if delimiter == "\t":
            return False
        if not any(
            one.strip() and two.strip() and _is_number(one) != _is_number(two)
            for one, two in zip(first, other, strict=True)
        ):
            return None
    return True


def _is_number(field: str) -> bool:
    """Return whether a field is a number, an amount or a date: digits without letters."""
    return bool(re.search(r"\d", field)) and not re.search(r"[^\W\d_]", field)


class _LineParser:
    """Splits one row by the rules of RFC 4180, and by those that exports follow in their place."""

    def __init__(self, delimiter: str, fields: int) -> None:
        self._delimiter, self._fields = delimiter, fields
        d = re.escape(delimiter)
        blank = "" if delimiter == " " else " *+"
        plain = rf"(?!{blank}\")[^{d}\n]*+"
        self._strict = re.compile(rf'(?:{blank}"((?:[^"]|"")*+)"{blank}|({plain}))(?:({d})|\Z)')
        self._backslash = re.compile(
            rf'(?:{blank}"((?:[^"\\]|\\.|"")*+)"{blank}|({plain}))(?:({d})|\Z)', re.DOTALL
        )
        self._loose = re.compile(
            rf'(?:{blank}"((?:[^"]|"(?!{blank}(?:{d}|\Z)))*+)"{blank}|({plain}))(?:({d})|\Z)'
        )
        self._open = re.compile(rf'{blank}"(?:[^"]|"")*+\Z')

    def strict(self, text: str) -> list[str] | None:
        """Split by RFC 4180; None where the text breaks it. Blanks around quotes are dropped."""
        return self._split(self._strict, text)

    def is_open(self, text: str) -> bool:
        """Return whether a quoted field begins that the text does not end."""
        at = 0
        while (match := self._strict.match(text, at)) is not None:
            if match.group(3) is None:
                return False
            at = match.end()
        return self._open.match(text, at) is not None

    def read(self, text: str) -> tuple[list[str] | None, bool]:
        """Return (fields or None, whether stray quotes were taken as text)."""
        strict = self.strict(text)
        if strict is not None:
            # sound quotes with too few fields are a fault of the row, and no stray quotes
            return (strict if len(strict) == self._fields else None), False
        if '\\"' in text:
            row = self._split(self._backslash, text)
            if row is not None and len(row) == self._fields:
                return [re.sub(r'\\(["\\])', r"\1", field) for field in row], False
        row = self._split(self._loose, text)
        if row is not None and len(row) == self._fields:
            return row, True
        row = text.split(self._delimiter)
        if len(row) == self._fields and "\n" not in text:
            return [_unquoted(field) for field in row], True
        return None, False

    def _split(self, rule: re.Pattern[str], text: str) -> list[str] | None:
        row, at = list[str](), 0
        while True:
            match = rule.match(text, at)
            if match is None:
                return None
            quoted, plain, more = match.groups()
            row.append(plain if quoted is None else quoted.replace('""', '"'))
            at = match.end()
            if more is None:
                return row


def _unquoted(field: str) -> str:
    inner = field.strip()
    if len(inner) > 1 and inner[0] == inner[-1] == '"':
        return inner[1:-1].replace('""', '"')
    return field


def split_line(line: str, delimiter: str) -> list[str]:
    """Split one line, with quotes where they are sound."""
    return _line_parser(delimiter).strict(line) or line.split(delimiter)


@cache
def _line_parser(delimiter: str) -> _LineParser:
    return _LineParser(delimiter, 0)
