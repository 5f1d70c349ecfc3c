"""Test charsets: detection, line ends, lines that cannot be decoded, files that are no text."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.lib.landing.zone import IngestError
from recsys_assets.lib.own_data import charsets
from recsys_assets.lib.own_data.charsets import UNDECODED, TextFile, detect

WORDS = {
    "cp1252": "Café crème, glacé; Gläser für Säfte – “schön” € 5",
    "cp1250": "Żółty płaszcz zimowy\nSukienka wieczorowa długa\nSpódnica ołówkowa w kratkę",
    "cp1251": "Красная футболка с длинным рукавом\nСиние джинсы для мальчиков",
    "cp1253": "Κόκκινο πουκάμισο με μακριά μανίκια\nΜπλε τζιν για αγόρια",
    "cp1254": "Kırmızı uzun kollu gömlek\nErkek çocuk mavi şort\nKadın ayakkabı, topuğu açık",
    "cp932": "赤い長袖のシャツ\n子供用の青いジーンズ\n革のショルダーバッグ",
    "gb18030": "红色长袖衬衫，纯棉\n儿童蓝色牛仔裤，四季可穿\n真皮单肩包，适合旅行和日常使用",
    "cp949": "빨간 긴팔 셔츠\n어린이용 청바지",
}


def read(path: Path, encoding: str | None = None) -> str:
    return b"".join(TextFile(path, encoding)).decode()


@pytest.mark.parametrize("codec", WORDS)
def test_the_charset_of_a_few_words_is_told(codec: str):
    sample = WORDS[codec].encode(codec)
    assert sample.decode(detect(sample)) == WORDS[codec]


@pytest.mark.parametrize("size", [1, 3, 4 << 20])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_line_ends_become_one_in_every_charset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, size: int
):
    monkeypatch.setattr(charsets, "READ_BYTES", max(size, 2 if "16" in codec else size))
    (tmp_path / "a.csv").write_bytes("user,item\r\nü,1\rb,2\nc,3".encode(codec))
    if size > 3:  # the charset is told from the first block
        assert read(tmp_path / "a.csv") == "user,item\nü,1\nb,2\nc,3\n"
    elif codec == "utf-8":
        assert read(tmp_path / "a.csv") == "user,item\nü,1\nb,2\nc,3\n"


def test_a_line_of_another_charset_is_marked(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes("ä\nö\n".encode() + "ü\n".encode("latin-1") + b"x\n")
    assert read(tmp_path / "a.csv") == f"ä\nö\n{UNDECODED}\ufffd\nx\n"


def test_a_given_charset_is_not_doubted(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes("ü\n".encode("latin-1"))
    assert read(tmp_path / "a.csv", "utf-8").startswith(UNDECODED)
    assert read(tmp_path / "a.csv", "cp850") == "³\n"
    with pytest.raises(IngestError, match="--encoding utf-9: there is no such charset"):
        read(tmp_path / "a.csv", "utf-9")


def test_what_is_detected_is_said(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes("a\nü\n".encode("latin-1"))
    file = TextFile(tmp_path / "a.csv")
    list(file)
    (note,) = file.notes
    assert "cp1252" in note and "--encoding" in note


def test_a_long_line_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(charsets, "READ_BYTES", 64)
    monkeypatch.setattr(charsets, "LONGEST_LINE", 256)
    (tmp_path / "a.csv").write_bytes(b"a\nb\n" + b"c" * 100_000)
    blocks = iter(TextFile(tmp_path / "a.csv"))
    with pytest.raises(IngestError, match="line 3 is longer than"):
        list(blocks)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"PK\x03\x04 word/x", "unpack it"),
        (b"PAR1", "end in .parquet"),
        (b"%PDF-1.7", "export the table as CSV"),
        (b"\xd0\xcf\x11\xe0", "end in .xls"),
        (b' {"a": 1}', "convert it"),
        (b"<html>", "export the table as CSV"),
        (b"\0" * 500, "export it again"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path: Path, content: bytes, remedy: str):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(IngestError, match=remedy):
        read(tmp_path / "a.csv")
