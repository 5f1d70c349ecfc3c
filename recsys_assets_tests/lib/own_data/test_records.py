"""Test quotes: what a CSV writer writes is read unchanged, and two rows never become one."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets.lib.own_data import charsets, records
from recsys_assets.lib.own_data.batch import TextForm
from recsys_assets.lib.own_data.delimited import DelimitedFile
from recsys_assets.lib.own_data.records import Records, original

FIELDS = st.text(st.sampled_from('ab1 ",;\n\\|é'), max_size=8)


def rows_of(path: Path) -> list[tuple[str | None, ...]]:
    file = DelimitedFile(path, TextForm())
    return [row for batch in file.batches(file.names) for row in batch.frame.iter_rows()]


def repaired(*lines: str, delimiter: str = ",", fields: int = 3) -> list[str]:
    block = "".join(line + "\n" for line in lines).encode()
    return b"".join(Records([block], delimiter, fields)).decode().splitlines()


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.lists(st.tuples(FIELDS, FIELDS, FIELDS), min_size=1, max_size=6), st.sampled_from([0, 1]))
def test_what_a_csv_writer_writes_is_read_unchanged_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], quoting: int
):
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", quoting=quoting)
    writer.writerows([("first", "second", "third"), *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(buffer.getvalue(), encoding="utf-8")
    file = DelimitedFile(path, TextForm())
    batches = list(file.batches(file.names))
    read = [row for batch in batches for row in batch.frame.iter_rows()]
    rejected = sum(len(batch.malformed) for batch in batches)
    assert len(read) + rejected >= len(rows)  # each line of a rejected row counts
    # a field that looks like blanks and a quoted field is read without its quotes
    if not any(field.strip(" ").startswith('"') for row in rows for field in row):
        written = iter([tuple(field or None for field in row) for row in rows])
        assert all(row in written for row in read)  # in their order, none invented
        assert rejected or len(read) == len(rows)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('1,5" pipe,x', '1,"5"" pipe",x'),
        ('"1","5" pipe","x"', '1,"5"" pipe",x'),
        ('"1","5" pipe, steel","x"', '1,"5"" pipe, steel",x'),
        (r'"1","5\" pipe, steel","x"', '1,"5"" pipe, steel",x'),
        ('"1", "a, b", "x"', '1,"a, b",x'),
        ('1,"Big" shoe,x', '1,"""Big"" shoe",x'),
        ('1,"Big,x', '1,"""Big",x'),
    ],
)
def test_one_row_with_stray_quotes(line: str, expected: str):
    assert repaired(line) == [expected]


def test_an_unclosed_quote_does_not_swallow_the_rows_below():
    lines = ['1,"Big,x', *(f"{n},Bag,x" for n in range(2, 3_000))]
    assert repaired(*lines) == ['1,"""Big",x', *lines[1:]]


def test_a_row_of_many_lines_is_kept_whole():
    assert repaired('1,"a', "", 'b",x', "2,c,x") == ['1,"a', "", 'b",x', "2,c,x"]


def test_rows_that_nobody_can_tell_are_rejected_line_by_line():
    found = repaired('a,"Big', 'b,Small"', "c,x", fields=2)
    assert all(line.startswith('"' + charsets.UNDECODED) for line in found[:2])
    assert [original(line) for line in found] == ['a,"Big', 'b,Small"', "c,x"]


def test_sound_quotes_with_too_few_fields_are_no_stray_quotes():
    (line,) = repaired('1,"a, b"')
    assert original(line) == '1,"a, b"'
    (line,) = repaired('1,x,"a', 'b",y')[:1]
    assert line.startswith('"' + charsets.UNDECODED)


def test_a_row_may_begin_in_one_block_and_end_in_the_next():
    blocks = [b'1,"a\n', b'b",x\n2,c,x\n']
    assert b"".join(Records(blocks, ",", 3)) == b'1,"a\nb",x\n2,c,x\n'


def test_a_quote_that_never_closes_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(records, "MOST_LINES", 5)
    monkeypatch.setattr(records, "LONGEST_LINE", 50)
    blocks = [b'1,"a,x\n', *(b"%d,b,x\n" % n for n in range(2, 40))]
    found = b"".join(Records(blocks, ",", 3)).splitlines()
    assert found == [b'1,"""a",x', *(b"%d,b,x" % n for n in range(2, 40))]


def test_rows_are_the_same_whatever_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.csv"
    path.write_text("a,b,c\n" + '1,"x\ny",z\n2,5" pipe,z\n\n3,"p, q",r\n' * 40)
    whole = rows_of(path)
    assert len(whole) == 120
    monkeypatch.setattr(charsets, "READ_BYTES", 7)
    assert rows_of(path) == whole
