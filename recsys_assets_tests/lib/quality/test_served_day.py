"""Test that a day of the log of answers is read once, and that a file of another form is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys_assets.lib.landing.served_answers import SCHEMA
from recsys_assets.lib.quality.contracts import ContractViolation
from recsys_assets.lib.quality.served_day import read_served_day
from recsys_assets.partitions import day_bounds

DAY = "2026-03-29"
AT = day_bounds(DAY)[0] + 100


def write(folder: Path, name: str, *ids: str, **changed: Any) -> None:
    rows = [
        {
            "answer_id": answer_id,
            "request_id": "r",
            "user_id": "u",
            "at": AT,
            "device_type": "-1",
            "top_k": 2,
            "item_ids": ["a", "b"],
            "scores": [1.0, 0.5],
            "reasons": [],
            "arrived": AT,
            **changed,
        }
        for answer_id in ids
    ]
    target = folder / "served" / DAY
    target.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(target / name)


def test_an_answer_of_two_files_counts_once(tmp_path: Path) -> None:
    assert read_served_day(str(tmp_path), DAY) is None
    write(tmp_path, "served-1-0.parquet", "b", "a")
    write(tmp_path, "served-2-0.parquet", "c", "b")
    read = read_served_day(str(tmp_path), DAY)
    assert read is not None and read.answers["answer_id"].to_list() == ["a", "b", "c"]
    assert read.rows_by_file == {"served/served-1-0.parquet": 2, "served/served-2-0.parquet": 2}
    assert list(read.digests) == list(read.rows_by_file)


def test_a_file_of_another_form_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet", "a", at=AT - 200)
    write(tmp_path, "b.parquet", "b", scores=[1.0])
    (tmp_path / "served" / DAY / "c.parquet").write_bytes(b"half")
    pl.DataFrame({"answer_id": [1]}).write_parquet(tmp_path / "served" / DAY / "d.parquet")
    with pytest.raises(ContractViolation) as violation:
        read_served_day(str(tmp_path), DAY)
    lines = str(violation.value)
    assert f"served/{DAY}/a.parquet: column 'at': outside the day" in lines
    assert "b.parquet: column 'scores': not one per item" in lines
    assert "c.parquet: is not a readable Parquet file" in lines
    assert "d.parquet: column 'answer_id': type is Int64, not String" in lines
    assert "d.parquet: column 'at': type is missing, not Int64" in lines
    # read in another zone, the day has other bounds
    write(tmp_path / "other", "a.parquet", "a")
    with pytest.raises(ContractViolation, match="outside the day"):
        read_served_day(str(tmp_path / "other"), DAY, "America/New_York")


def test_a_file_of_an_older_version_has_no_features(tmp_path: Path) -> None:
    write(tmp_path, "served-1.parquet", "a-1", features="{}")
    write(tmp_path, "served-2.parquet", "a-2")
    older = tmp_path / "served" / DAY / "served-2.parquet"
    pl.read_parquet(older).drop("features").write_parquet(older)
    day = read_served_day(str(tmp_path), DAY)
    assert day is not None
    assert day.answers.select("answer_id", "features").rows() == [("a-1", "{}"), ("a-2", None)]
