"""Ads logs as they are published, and as they are broken."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from recsys_assets.ads_columns import CATEGORIES, COLUMNS, INTEGERS, LABEL
from recsys_assets.lib.ads_ctr import log_files
from recsys_assets.lib.ads_ctr.log_files import SCHEMA, LogBatch, read_log
from recsys_assets.lib.landing.zone import IngestError

#: The first row of Criteo's challenge of 2014, whose form this is: some fields are empty.
ROW = (
    *("0", "1", "1", "5", "0", "1382", "4", "15", "2", "181", "1", "2", "", "2"),
    *("68fd1e64", "80e26c9b", "fb936136", "7b4723c4", "25c83c98", "7e0ccccf", "de7995b8"),
    *("1f89b562", "a73ee510", "a8cd5504", "b2cb9c98", "37c9c164", "2824a5f6", "1adce6ef"),
    *("8ba8b39a", "891b62e7", "e5ba7672", "f54016b9", "21ddcdc9", "b1252a9d", "07b5194c"),
    *("", "3a171ecb", "c5c50484", "e8b83407", "9727dd16"),
)
CLICKED = ("1", *ROW[1:])


def line(row: Sequence[str], delimiter: str = "\t") -> str:
    return delimiter.join(row) + "\n"


def changed(column: str, text: str) -> tuple[str, ...]:
    place = COLUMNS.index(column)
    return (*ROW[:place], text, *ROW[place + 1 :])


def read(path: Path) -> LogBatch:
    batches = list(read_log(path))
    return LogBatch(
        pl.concat([one.rows for one in batches]), pl.concat([one.rejected for one in batches])
    )


def test_the_public_form_is_read_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "day_0"
    file.write_text(line(ROW) + line(CLICKED))
    found = read(file)
    assert dict(found.rows.schema) == SCHEMA and found.rejected.is_empty()
    first, second = found.rows.rows(named=True)
    assert (first[LABEL], second[LABEL]) == (0, 1)
    assert (first["I5"], first["I12"], first["C1"], first["C22"]) == (1382, None, "68fd1e64", None)
    assert first["C26"] == "9727dd16"


@pytest.mark.parametrize("form", ["gzip", "csv with a header", "parquet", "other names", "crlf"])
def test_other_forms_give_the_same_rows(tmp_path: Path, form: str) -> None:
    plain, other = tmp_path / "plain", tmp_path / "other.bin"
    plain.write_text(line(ROW) + line(CLICKED))
    expected = read(plain).rows
    if form == "gzip":
        other.write_bytes(gzip.compress(plain.read_bytes()))
    elif form == "csv with a header":
        # in another order of columns, beside a column that is not of the form
        head = ("day", *reversed(COLUMNS))
        rows = [("x", *reversed(row)) for row in (ROW, CLICKED)]
        other.write_text("".join(line(row, ",") for row in (head, *rows)))
    elif form == "parquet":
        expected.write_parquet(other)
    elif form == "other names":
        names = {LABEL: "Click"} | {
            name: f"{'integer' if name in INTEGERS else 'categorical'}_feature_{name[1:]}"
            for name in (*INTEGERS, *CATEGORIES)
        }
        # counts as floats with NaN for empty, as pandas writes them
        numbers = pl.col(INTEGERS).cast(pl.Float64).fill_null(float("nan"))
        expected.with_columns(numbers).rename(names).write_parquet(other)
    else:
        other.write_bytes(plain.read_bytes().replace(b"\n", b"\r\n"))
    found = read(other)
    assert found.rows.equals(expected) and found.rejected.is_empty()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("junk",), "1 fields, 40 expected"),
        ((*ROW, "x"), "41 fields, 40 expected"),
        (("",), "1 fields, 40 expected"),
        (changed(LABEL, ""), "label is empty"),
        (changed(LABEL, "2"), "label is not 0 or 1"),
        (changed(LABEL, "yes"), "label is not 0 or 1"),
        (changed("I3", "many"), "I3 is no whole number"),
        (changed("I3", "0.25"), "I3 is no whole number"),
        (changed("I3", "inf"), "I3 is no whole number"),
        (changed("I3", "1e300"), "I3 is beyond 2^53"),
        (changed("C26", "a" * 257), "C26 is longer than 256 characters"),
    ],
)
def test_a_row_that_breaks_the_form_is_set_aside_alone(
    tmp_path: Path, row: tuple[str, ...], reason: str
) -> None:
    file = tmp_path / "day"
    file.write_text(line(ROW) + line(row) + line(CLICKED))
    found = read(file)
    assert found.rows[LABEL].to_list() == [0, 1]
    assert found.rejected.rows() == [(reason, 2, line(row).removesuffix("\n"))]


def test_text_that_is_not_utf_8_is_set_aside(tmp_path: Path) -> None:
    file = tmp_path / "day"
    file.write_bytes(line(ROW).encode() + line(ROW).encode().replace(b"68fd1e64", b"caf\xe9"))
    found = read(file)
    assert found.rows.height == 1 and found.rejected["reason"].to_list() == ["C1 is not UTF-8"]


def test_numbers_keep_their_value(tmp_path: Path) -> None:
    file = tmp_path / "day"
    file.write_text(
        line(changed("I2", "-3")) + line(changed("I2", "7.0")) + line(changed("I2", ""))
    )
    assert read(file).rows["I2"].to_list() == [-3, 7, None]


def test_row_numbers_go_on_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_files, "BLOCK_BYTES", 700)
    file = tmp_path / "day"
    good = "".join(line(ROW) for _ in range(20))
    file.write_text(",".join(COLUMNS) + "\n" + (good + "junk\n" + good).replace("\t", ","))
    batches = list(read_log(file))
    assert len(batches) > 5 and sum(one.rows.height for one in batches) == 40
    (number,) = pl.concat([one.rejected for one in batches])["source_row"]
    assert number == 21


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    file = tmp_path / "day"
    file.write_text(line(ROW) + line(CLICKED).removesuffix("\n"))
    assert read(file).rows.height == 2


def test_progress_ends_at_the_whole_file(tmp_path: Path) -> None:
    file, told = tmp_path / "day.gz", list[tuple[int, int]]()
    file.write_bytes(gzip.compress(line(ROW).encode() * 100))
    list(read_log(file, lambda done, whole: told.append((done, whole))))
    assert told[-1] == (file.stat().st_size, file.stat().st_size)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (line(ROW[1:]).encode(), "the public test files have no label"),
        (b"a,b,c\n", "its first line has 3 fields, 40 are needed"),
        (("label," + ",".join(INTEGERS) + "\n").encode(), "has no column C1, C2"),
        ((",".join([*COLUMNS, "I3"]) + "\n").encode(), "has I3 twice"),
        ((",".join(COLUMNS) + "\n").encode(), "has no row"),
        (gzip.compress(line(ROW).encode() * 5_000)[:-300], "is cut off or damaged"),
        (b"PAR1 and then nothing", "is no whole Parquet file"),
    ],
)
def test_another_file_is_refused_with_a_remedy(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "day"
    file.write_bytes(content)
    with pytest.raises(IngestError, match=message) as error:
        list(read_log(file))
    assert str(file) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match="nowhere cannot be read: No such file"):
        read_log(tmp_path / "nowhere")
