"""A day of the ads log: read whole, or refused with file and column."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys_assets.ads_columns import FEATURES, LABEL
from recsys_assets.lib.ads_ctr import ads_day
from recsys_assets.lib.ads_ctr.ads_truth import AdsTruth
from recsys_assets.lib.ads_ctr.log_files import SCHEMA
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day
from recsys_assets.lib.quality.contracts import ContractViolation
from recsys_assets.lib.quality.profiles import PROFILE_FILE

DAY = "2026-03-02"
ROWS = simulate_day(AdsTruth(7), 0, 40).rows


def land(landing: Path, name: str, rows: pl.DataFrame) -> Path:
    file = landing / "ads" / DAY / name
    file.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(file)
    return file


def test_all_files_of_a_day_are_read_by_name(tmp_path: Path) -> None:
    land(tmp_path, "b.parquet", ROWS[:15])
    land(tmp_path, "a.parquet", ROWS[15:])
    found = ads_day.read_ads_day(str(tmp_path), DAY)
    assert found.rows.equals(pl.concat([ROWS[15:], ROWS[:15]]))
    assert found.rows_by_file == {"ads/a.parquet": 25, "ads/b.parquet": 15}


def test_the_digest_is_that_of_the_files(tmp_path: Path) -> None:
    land(tmp_path, "a.parquet", ROWS)
    before = ads_day.read_ads_day(str(tmp_path), DAY).digest
    assert ads_day.read_ads_day(str(tmp_path), DAY).digest == before
    land(tmp_path, "a.parquet", ROWS[1:])
    assert ads_day.read_ads_day(str(tmp_path), DAY).digest != before


def test_a_day_without_a_file_has_no_rows(tmp_path: Path) -> None:
    found = ads_day.read_ads_day(str(tmp_path), DAY)
    assert found.rows.is_empty() and dict(found.rows.schema) == SCHEMA


def test_texts_for_empty_become_null(tmp_path: Path) -> None:
    land(tmp_path, "a.parquet", ROWS.with_columns(C5=pl.lit("-1"), C6=pl.lit("")))
    found = ads_day.read_ads_day(str(tmp_path), DAY).rows
    assert found["C5"].null_count() == found["C6"].null_count() == 40


def test_other_columns_are_named_and_left_out(tmp_path: Path) -> None:
    land(tmp_path, "a.parquet", ROWS.with_columns(campaign=pl.lit("x")))
    found = ads_day.read_ads_day(str(tmp_path), DAY)
    assert found.extra_columns == {"campaign": 1} and "campaign" not in found.rows.columns


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS.drop("C4"), r"a.parquet: column 'C4': type is missing, not String \(1\)"),
        (ROWS.cast({"I2": pl.String}), r"a.parquet: column 'I2': type is String, not Int64 \(1\)"),
        (
            ROWS.with_columns(pl.lit(3, pl.Int8).alias(LABEL)),
            r"column 'label': is not 0 or 1 \(40\), for example 3",
        ),
        (
            ROWS.with_columns(pl.lit(None, pl.Int8).alias(LABEL)),
            r"column 'label': is not 0 or 1 \(40\), for example None",
        ),
    ],
)
def test_a_file_that_breaks_the_form_is_named(
    tmp_path: Path, rows: pl.DataFrame, message: str
) -> None:
    land(tmp_path, "a.parquet", rows)
    with pytest.raises(ContractViolation, match=message):
        ads_day.read_ads_day(str(tmp_path), DAY)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    land(tmp_path, "a.parquet", ROWS).write_bytes(b"PAR1")
    with pytest.raises(ContractViolation, match=r"a\.parquet: is not a readable Parquet file"):
        ads_day.read_ads_day(str(tmp_path), DAY)


@pytest.mark.parametrize("rows", [ROWS, ROWS[:0]], ids=["some", "none"])
def test_the_artifact_has_rows_profile_and_figures(tmp_path: Path, rows: pl.DataFrame) -> None:
    metrics = ads_day.write_ads_day(ads_day.AdsDay(rows, {}, {}, {}), tmp_path)
    assert (metrics["rows"], metrics["clicks"]) == (rows.height, int(rows[LABEL].sum()))
    assert pl.read_parquet(tmp_path / "ads.parquet").equals(rows)
    profile = pl.read_parquet(tmp_path / PROFILE_FILE)
    if rows.height:
        assert set(profile["feature"]) == set(FEATURES)
        sums = profile.group_by("feature").agg(pl.col("rows").sum())["rows"]
        assert set(sums) == {rows.height}
