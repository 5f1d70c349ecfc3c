"""Test the fuzzer: it counts lines by itself, and names crashes and lost rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_assets.bench.files import fuzz
from recsys_assets.lib.own_data.batch import Batch


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"a,b\n1,2\n3,4",
        b"sep=;\na;b\n\n1;2\n",
        b'a,b\n1,"x\ny"\n2,3,4\n',
        b'a\n""\nx\n',
        b'a,b\n1,"x\n2,y\n',
        b"\xff\xfea\x00,\x00b\x00\n\x001\x00,\x002\x00",
    ],
)
def test_every_line_is_accounted_for(tmp_path: Path, content: bytes):
    (tmp_path / "a.csv").write_bytes(content)
    assert fuzz.lines_lost(tmp_path / "a.csv") == 0


def test_a_lost_row_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read = fuzz.read_batches

    def losing(*arguments: object) -> Iterator[Batch]:
        for batch in read(*arguments):  # type: ignore[arg-type]
            yield Batch(batch.frame.head(-1), batch.rows.head(-1))

    monkeypatch.setattr(fuzz, "read_batches", losing)
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n3,4\n")
    assert fuzz.lines_lost(tmp_path / "a.csv") == 1


def test_some_inputs_find_no_fault(tmp_path: Path):
    found = fuzz.body({"seed": 12, "inputs": 120, "folder": str(tmp_path)})
    assert found["inputs"] == 120 and found["faults"] == [] and list(tmp_path.iterdir()) == []
    assert found["slowest"] < fuzz.HANG_SECONDS


def test_a_crash_is_kept_with_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def crash(path: Path) -> int:
        raise KeyError("gone")

    monkeypatch.setattr(fuzz, "_read", crash)
    found = fuzz.body({"seed": 1, "inputs": 5, "folder": str(tmp_path)})
    assert found["crashes"] == 5 and "KeyError" in found["faults"][0]
    assert len(list(tmp_path.iterdir())) == 5
