"""Test what is said of files that are opened, and of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys_assets.lib.ingest_check.previews import previews, unused_columns
from recsys_assets.lib.own_data.batch import TextForm


def test_the_form_of_each_kind_of_file_is_named(tmp_path: Path):
    (tmp_path / "a.csv").write_text("id|größe\n1|2\n", encoding="utf-16")
    pl.DataFrame({"id": [1], "tags": [["x", "y"]]}).write_parquet(tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_bytes(b"PAR1\0\0")
    found, number = previews([tmp_path], TextForm())
    assert number == 3
    assert found[0].form == "text, letters as utf-16-le, columns separated by vertical bar"
    assert found[0].columns == ["id", "größe"] and found[0].rows == [("1", "2")]
    assert found[1].form == "Parquet" and found[1].rows == [("1", '["x","y"]')]
    assert "Parquet file: let its name end in .parquet" in found[2].problem


def test_a_path_without_a_file_is_a_problem_and_no_crash(tmp_path: Path):
    (found,), number = previews([str(tmp_path / "none.csv")], TextForm())
    assert number == 0 and "check the path" in found.problem and not found.rows


def test_unused_columns_have_five_distinct_examples(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("id,kind\n" + "".join(f"{n},k{n % 9}\n" for n in range(99)))
    found, _ = previews([path], TextForm())
    (kind,) = unused_columns(found, {"id"})
    assert [given for given, _ in kind.examples] == ["k0", "k1", "k2", "k3", "k4"]
