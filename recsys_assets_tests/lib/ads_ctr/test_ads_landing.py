"""Landing ads logs: days in order, once each, and nothing lost."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from recsys_assets.ads_columns import COLUMNS, LABEL
from recsys_assets.lib.ads_ctr import ads_landing
from recsys_assets.lib.ads_ctr.ads_truth import AdsTruth
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day
from recsys_assets.lib.landing.quarantine import quarantine_counts
from recsys_assets.lib.landing.zone import IngestError

FIRST = date(2026, 2, 28)


def write(path: Path, day: int = 0, rows: int = 30) -> pl.DataFrame:
    frame = simulate_day(AdsTruth(7), day, rows).rows
    frame.write_csv(path, separator="\t", include_header=False)
    return frame


def landed(landing: Path) -> dict[str, pl.DataFrame]:
    """Return day → its landed rows."""
    days = sorted((landing / "ads").iterdir())
    return {day.name: pl.read_parquet(sorted(day.glob("*.parquet"))) for day in days}


def test_each_file_is_a_day(tmp_path: Path) -> None:
    files = [tmp_path / "day_0", tmp_path / "day_1"]
    frames = [write(file, number) for number, file in enumerate(files)]
    report = ads_landing.land_files(tmp_path / "landing", files, FIRST)
    assert report.days == {"2026-02-28": 30, "2026-03-01": 30} and report.rejected == {}
    for found, expected in zip(landed(tmp_path / "landing").values(), frames, strict=True):
        assert found.equals(expected)


def test_one_file_is_split_in_order_and_no_row_is_lost(tmp_path: Path) -> None:
    frame = write(tmp_path / "train.txt", rows=31)
    report = ads_landing.land_files(tmp_path / "landing", [tmp_path / "train.txt"], FIRST, 3)
    assert list(report.days.values()) == [10, 10, 11]
    assert pl.concat(landed(tmp_path / "landing").values()).equals(frame)


def test_landing_again_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "day"
    write(file)
    file.write_text(file.read_text() + "junk\n")
    for _ in range(2):
        report = ads_landing.land_files(tmp_path / "landing", [file], FIRST)
        assert report.rejected == {"1 fields, 40 expected": 1}
    assert landed(tmp_path / "landing")["2026-02-28"].height == 30
    assert quarantine_counts(tmp_path / "landing") == {"ads": {"1 fields, 40 expected": 1}}


def test_a_mended_file_takes_its_rows_out_of_the_quarantine(tmp_path: Path) -> None:
    file = tmp_path / "day"
    write(file)
    file.write_text(file.read_text() + "junk\n")
    ads_landing.land_files(tmp_path / "landing", [file], FIRST)
    (kept,) = (tmp_path / "landing/quarantine/ads").glob("*.parquet")
    row = pl.read_parquet(kept).rows(named=True)[0]
    assert (row["source_file"], row["source_row"], row["source_line"]) == ("day", 31, "junk")


def test_a_second_source_of_a_day_is_added(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"part_{number}", number)
        ads_landing.land_files(tmp_path / "landing", [tmp_path / f"part_{number}"], FIRST)
    assert landed(tmp_path / "landing")["2026-02-28"].height == 60


def test_the_same_source_on_another_day_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "day")
    ads_landing.land_files(tmp_path / "landing", [tmp_path / "day"], FIRST)
    with pytest.raises(IngestError, match=r"was landed as 2026-02-28 before: give the same"):
        ads_landing.land_files(tmp_path / "landing", [tmp_path / "day"], date(2026, 3, 5))
    assert list(landed(tmp_path / "landing")) == ["2026-02-28"]


@pytest.mark.parametrize(
    ("files", "days", "message"),
    [
        (0, None, "name at least one file"),
        (2, 3, "--days 3 splits one file"),
        (1, 0, "--days 0 splits one file"),
        (1, 31, "30 rows have the form of an ads log, 31 days need at least as many"),
    ],
)
def test_wrong_numbers_are_refused_and_nothing_lands(
    tmp_path: Path, files: int, days: int | None, message: str
) -> None:
    paths = [tmp_path / f"day_{number}" for number in range(files)]
    for path in paths:
        write(path)
    with pytest.raises(IngestError, match=message):
        ads_landing.land_files(tmp_path / "landing", paths, FIRST, days)
    assert not (tmp_path / "landing/ads").exists()


def test_a_file_without_a_good_row_says_where_the_reasons_are(tmp_path: Path) -> None:
    (tmp_path / "day").write_text("\t".join(["x"] * len(COLUMNS)) + "\n")
    with pytest.raises(IngestError, match="0 rows have the form of an ads log") as error:
        ads_landing.land_files(tmp_path / "landing", [tmp_path / "day"], FIRST)
    kept = Path(str(error.value).rpartition(" ")[2])
    assert pl.read_parquet(kept)["reason"].to_list() == ["label is not 0 or 1"]


def test_simulated_days_have_their_truth_beside_them(tmp_path: Path) -> None:
    report = ads_landing.land_simulated(tmp_path, AdsTruth(7), FIRST, 2, 50)
    assert report.days == {"2026-02-28": 50, "2026-03-01": 50}
    truth = ads_landing.read_truth(str(tmp_path), "2026-03-01", 50)
    assert truth is not None and (truth == simulate_day(AdsTruth(7), 1, 50).probability).all()
    assert landed(tmp_path)["2026-03-01"][LABEL].sum() > 0


def test_a_day_with_other_rows_has_no_truth(tmp_path: Path) -> None:
    ads_landing.land_simulated(tmp_path, AdsTruth(7), FIRST, 1, 50)
    assert ads_landing.read_truth(str(tmp_path), "2026-02-28", 51) is None
    assert ads_landing.read_truth(str(tmp_path), "2026-03-01", 50) is None
    assert ads_landing.read_truth("s3://bucket/landing", "2026-02-28", 50) is None
