"""Read a text file of any charset as blocks of whole UTF-8 lines.

Memory holds one block. UTF-16 is detected by its BOM or its NUL bytes. Text that is not UTF-8 is in
one of the older charsets, which chardet detects from the first lines that are not ASCII.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

import chardet
import pyarrow as pa

from recsys_assets.lib.landing.zone import IngestError

READ_BYTES = 4 << 20
#: Bytes of the longest line. A longer one is no row of a table.
LONGEST_LINE = 4 << 20
#: Begins a line that its charset cannot decode. It is a noncharacter: no text contains it.
UNDECODED = "\uffff"
_SAMPLE_LINES = 400

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COMPRESSED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
#: First bytes of files that are no text → what they are, and the remedy.
_OTHER_KINDS = (
    (b"\xd0\xcf\x11\xe0", "an Excel workbook: let its name end in .xls"),
    (b"PAR1", "a Parquet file: let its name end in .parquet"),
    (b"%PDF", "a PDF: export the table as CSV"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it, and give the file or folder inside"),
    (b"Rar!", "a RAR archive: unpack it, and give the file or folder inside"),
    (b"\xfd7zXZ", "an xz archive: unpack it, and give the file inside"),
)
_MARKUP = re.compile(rb"<(!doctype|html|table|\?xml|meta|head|body)", re.IGNORECASE)
#: Charsets that files are in today; chardet knows many more, and takes a few words for any of them.
_LATIN = ("cp1250", "cp1254", "cp1257")
_OTHERS = ("cp1251", "koi8-r", "koi8-u", "cp1253", "cp1255", "cp1256", "cp874")
_JAPANESE = ("cp932", "shift_jis", "euc_jp")
_WIDE = (*_JAPANESE, "gb18030", "gbk", "gb2312", "big5", "cp949", "euc_kr")
#: ISO charset → the one of Windows, which has the same letters and more.
_WINDOWS = {"iso8859-2": "cp1250", "iso8859-9": "cp1254", "iso8859-7": "cp1253"}
_KANA = re.compile("[\u3040-\u30ff\uff66-\uff9d]")
#: With fewer characters that are not ASCII, a guess among the Latin charsets does not count.
_ENOUGH = 10
#: A Latin letter beside one of another script, a capital or a sign inside a word, a C1 control.
_IMPLAUSIBLE = re.compile(
    r"[A-Za-z][\u0370-\u05ff]|[\u0370-\u05ff][A-Za-z]"
    r"|[a-z][\u00c0-\u00d6\u00d8-\u00de\u0160\u017d\u0178]+[a-z]"
    r"|[^\W\d_][\u00a1-\u00b6\u00b8-\u00bf\u00d7\u00f7\u0192\u02c6\u02dc\u201a-\u203a\u2500-\u25ff]+"
    r"[^\W\d_]|[\u0080-\u009f]"
)


class TextFile:
    """Opens a text file; iterate over it once per object.

    Args:
        path: plain or compressed (gzip, bz2, zstd, lz4, told by the first bytes).
        encoding: name of the charset; None: detect it.

    Raises:
        IngestError: the file is no text, or there is no such charset.

    Attributes:
        notes: what was detected, as sentences for the report.
        charset: of the text, as far as it was read.
    """

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.path, self.notes = path, list[str]()
        self._given = encoding is not None
        self._utf8_seen = False
        self._lines = 0
        if encoding is not None:
            try:
                encoding = codecs.lookup(encoding).name
            except LookupError as error:
                raise IngestError(
                    f"--encoding {encoding}: there is no such charset; give for example utf-8, "
                    "cp1252, utf-16 or shift_jis"
                ) from error
        self._codec = None if encoding in ("utf-8", "utf-8-sig") else encoding
        self.charset = self._codec or "utf-8"

    def __iter__(self) -> Iterator[bytes]:
        """Yield blocks that end with a line end; every line end is LF."""
        rest = b""
        for raw in self._unix_lines():
            data = rest + raw if rest else raw
            cut = data.rfind(b"\n") + 1
            block, rest = data[:cut], data[cut:]
            if len(rest) > LONGEST_LINE:
                self._lines += block.count(b"\n")
                raise IngestError(
                    f"{self.path}: line {self._lines + 1:,} is longer than "
                    f"{LONGEST_LINE >> 20} MiB, so this is no table with a row per line; export "
                    "it as CSV again"
                )
            if block:
                self._lines += block.count(b"\n")
                yield self._decoded(_without_boms(block))
        if rest:
            yield self._decoded(_without_boms(rest + b"\n"))

    def _raw(self) -> Iterator[bytes]:
        """Yield the decompressed bytes."""
        try:
            with self.path.open("rb") as file:
                magic = file.read(8)
            kind = next((kind for start, kind in _COMPRESSED if magic.startswith(start)), None)
            with pa.OSFile(str(self.path)) as plain:
                stream = plain if kind is None else pa.CompressedInputStream(plain, kind)
                while block := stream.read(READ_BYTES):
                    yield block
        except (pa.ArrowInvalid, OSError) as error:
            raise IngestError(
                f"{self.path} cannot be read: {first_line(error)}; if it was cut off or damaged, "
                "copy or export it again"
            ) from error

    def _unix_lines(self) -> Iterator[bytes]:
        """Yield bytes of UTF-8, or of a charset that keeps ASCII, with LF alone as line end."""
        held, decoder, first = b"", None, True
        for raw in self._raw():
            block = raw
            if first:
                first = False
                bom, wide = self._wide(block)
                block = block[bom:]
                decoder = codecs.getincrementaldecoder(wide)("replace") if wide else None
            if decoder is not None:
                block = decoder.decode(block).encode("utf-8", "replace")
            if b"\r" in block or held:
                block = held + block
                held = b"\r" if block.endswith(b"\r") else b""
                block = block[: len(block) - len(held)]
                block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            if block:
                yield block
        if held:
            yield b"\n"

    def _wide(self, head: bytes) -> tuple[int, str | None]:
        """Return the bytes of the BOM and the charset, if it is UTF-16 or UTF-32.

        Raises:
            IngestError: the file is no text.
        """
        self._refuse_other_kinds(head)
        if self._codec is not None and self._codec.startswith(("utf-16", "utf-32")):
            codec, self._codec = self._codec, None  # a BOM is dropped by the decoder
            return 0, codec
        for bom, charset in _BOMS:
            if head.startswith(bom):
                if charset == "utf-8":
                    return len(bom), None
                self.notes.append(f"text is {charset}, by its BOM")
                self._codec, self.charset = None, charset
                return len(bom), charset
        sample = head[:4_096]
        nul = [sample[at::2].count(0) * 2 / max(len(sample), 1) for at in (0, 1)]
        for at, charset in ((1, "utf-16-le"), (0, "utf-16-be")):
            if nul[at] > 0.4 and nul[1 - at] < 0.05:
                self.charset = charset
                self.notes.append(f"text is {charset}, by its NUL bytes")
                return 0, charset
        if sum(nul) > 0.2:
            raise IngestError(
                f"{self.path} holds NUL bytes and is no text; it may be damaged or of another "
                "kind: export it again as CSV"
            )
        return 0, None

    def _refuse_other_kinds(self, head: bytes) -> None:
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64]
        kind = next((what for magic, what in _OTHER_KINDS if head.startswith(magic)), None)
        if head.startswith(b"PK\x03\x04"):
            kind = (
                "an Excel workbook: let its name end in .xlsx"
                if b"[Content_Types].xml" in head[:4_096] or b"xl/" in head[:4_096]
                else "a ZIP archive: unpack it, and give the file or folder inside"
            )
        elif start[:1] in (b"{", b"["):
            kind = "JSON: convert it to CSV or Parquet, with one row per object"
        elif _MARKUP.match(start):
            kind = "HTML or XML, perhaps an error page: export the table as CSV"
        if kind is not None:
            raise IngestError(f"{self.path} is {kind}")

    def _decoded(self, block: bytes) -> bytes:
        """Return a block of lines as UTF-8; a line that cannot be decoded begins with UNDECODED."""
        if block.isascii():
            return block
        if self._codec is None:
            try:
                block.decode()
                self._utf8_seen = True
                return block
            except UnicodeDecodeError:
                if self._given or not self._is_older(block):
                    return _marked(block, "utf-8")
        assert self._codec is not None
        try:
            return block.decode(self._codec).encode("utf-8", "replace")
        except UnicodeDecodeError:
            return _marked(block, self._codec)

    def _is_older(self, block: bytes) -> bool:
        """Return whether the text is of an older charset, and detect which."""
        lines = [line for line in block.split(b"\n") if not line.isascii()]
        bad = [line for line in lines if not _is_utf8(line)]
        if self._utf8_seen or len(bad) < len(lines) / 2:
            return False
        self._codec = self.charset = detect(b"\n".join(bad[:_SAMPLE_LINES]))
        self.notes.append(
            f"text is {self._codec}, as detected from {min(len(bad), _SAMPLE_LINES):,} lines that "
            "are not UTF-8 (if letters look wrong, name the charset with --encoding)"
        )
        return True


def _without_boms(block: bytes) -> bytes:
    """Drop the BOMs of files that were joined to one."""
    bom = codecs.BOM_UTF8
    return re.sub(b"(?m)^" + bom, b"", block) if bom in block else block


def detect(sample: bytes) -> str:
    """Return the Python codec of text that is neither ASCII nor UTF-8.

    chardet's guess counts for other scripts. Among the Latin ones a few words tell it nothing: then
    it is Windows-1252, by far the most frequent one, unless that gives impossible words.

    >>> detect("Café crème et thé glacé".encode("latin-1"))
    'cp1252'
    """
    found = codecs.lookup(chardet.detect(sample)["encoding"] or "cp1252").name
    found = _WINDOWS.get(found, found)
    few = sum(byte > 127 for byte in sample) < _ENOUGH
    if found in _JAPANESE and not _KANA.search(sample.decode(found, "replace")):
        guesses = ["gb18030", found]  # Japanese without kana is Chinese
    elif found in (*_OTHERS, *_WIDE) or (found in _LATIN and not few):
        guesses = [found, "cp1252"]
    else:
        guesses = ["cp1252", *([found] if found in _LATIN else []), "cp1250"]
    return min(guesses, key=lambda codec: _implausible(sample, codec))


def _implausible(sample: bytes, codec: str) -> int:
    text = sample.decode(codec, "replace")
    return len(_IMPLAUSIBLE.findall(text)) + text.count("\ufffd")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _marked(block: bytes, codec: str) -> bytes:
    """Decode line by line, and mark the lines that cannot be decoded."""
    lines = []
    for line in block[:-1].split(b"\n"):
        try:
            lines.append(line.decode(codec))
        except UnicodeDecodeError:
            lines.append(UNDECODED + line.decode(codec, "replace").replace("\n", " "))
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
