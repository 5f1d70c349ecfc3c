"""A day of the ads log: read whole, or refused with file and column."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys_assets.ads_columns import FEATURES, LABEL
from recsys_assets.lib.ads_ctr import ads_day
from recsys_assets.lib.ads_ctr.ads_truth import AdsTruth
from recsys_assets.lib.ads_ctr.feedback import read_feedback
from recsys_assets.lib.ads_ctr.log_files import SCHEMA
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day
from recsys_assets.lib.quality.contracts import ContractViolation
from recsys_assets.lib.quality.profiles import PROFILE_FILE
from recsys_assets_tests.support import small_feedback
from recsys_assets_tests.support.small_feedback import DAY, NOON

ROWS = simulate_day(AdsTruth(7), 0, 40).rows


def with_predictions(landing: Path, now: float) -> ads_day.AdsDay:
    given = read_feedback(str(landing), DAY, small_feedback.HOUR, now)
    return ads_day.read_ads_day(str(landing), DAY, given)


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


def test_settled_predictions_follow_the_files_in_the_order_of_their_moments(tmp_path: Path) -> None:
    small_feedback.land(
        tmp_path,
        [
            small_feedback.prediction(2, NOON + 2, C1="-1"),
            small_feedback.prediction(1, NOON + 1, I1=None, C2=None),
            small_feedback.prediction(3, NOON + 3),
        ],
        [
            small_feedback.label(2, 1, NOON + 5, NOON + 2),
            small_feedback.label(1, 0, NOON + 9, NOON + 1),
            small_feedback.label(1, 0, NOON + 9, NOON + 1),
        ],
    )
    alone = with_predictions(tmp_path, NOON + 10)
    assert alone.rows["label"].to_list() == [0, 1] and dict(alone.rows.schema) == SCHEMA
    assert alone.rows["I1"].to_list() == [None, 2]
    assert alone.rows["C1"].to_list() == ["v1", None], "-1 means empty, as in files"
    assert alone.rows["C2"].to_list() == [None, "v2"]
    assert alone.rows_by_file == {"ads_predictions": 2}
    counted = {"served": 2, "waiting": 1, "late": 0, "double": 1, "unknown": 0}
    assert alone.feedback == counted
    folder = tmp_path / "out"
    folder.mkdir()
    metrics = ads_day.write_ads_day(alone, folder)
    assert counted.items() <= metrics.items() and metrics["rows"] == 2
    land(tmp_path, "a.parquet", ROWS)
    both = with_predictions(tmp_path, NOON + 10)
    assert both.rows.equals(pl.concat([ROWS, alone.rows]))
    assert ads_day.read_ads_day(str(tmp_path), DAY).rows.equals(ROWS)


def test_a_later_label_makes_the_day_new(tmp_path: Path) -> None:
    small_feedback.land(
        tmp_path, [small_feedback.prediction(1)], [small_feedback.label(1, 0, NOON + 5)]
    )
    before = with_predictions(tmp_path, NOON + 10).digest
    assert with_predictions(tmp_path, NOON + 20).digest == before
    small_feedback.land(
        tmp_path, [], [small_feedback.label(1, 1, NOON + 15)], file="1772452900000-0"
    )
    after = with_predictions(tmp_path, NOON + 20)
    assert after.digest != before and after.rows["label"].to_list() == [1]


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
