"""Test the windows of days and what their clicks permit."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys_assets.lib.ingest_check.windows import clicks_by_day, training_windows
from recsys_assets.partitions import days_between
from recsys_assets.settings import Settings


def windows(days: int, clicks: int):
    from datetime import date, timedelta

    last = date(2026, 1, 1) + timedelta(days=days - 1)
    counted = dict.fromkeys(days_between(date(2026, 1, 1), last), clicks)
    return training_windows("2026-01-01", last.isoformat(), counted, Settings(start_day=None))


def test_a_long_log_has_a_longer_window_than_the_settings():
    usual, longest = windows(days=40, clicks=100)
    assert (len(usual.training), len(longest.training)) == (9, 37)
    assert usual.validation == longest.validation == ["2026-02-07", "2026-02-08", "2026-02-09"]
    assert usual.clicks == (900, 300) and longest.clicks == (3_700, 300)
    assert "Missing: 100 clicks: the 9 training days have 900" in usual.permits[-1]
    assert longest.permits[-1] == "Full models (neural networks): yes."


def test_a_short_log_uses_all_its_days():
    usual, longest = windows(days=4, clicks=5)
    assert usual == longest and [len(usual.training), len(usual.validation)] == [3, 1]
    assert "5 clicks, and 30 are needed" in usual.permits[1]


def test_one_day_is_judged_on_none():
    usual, _ = windows(days=1, clicks=5)
    assert usual.training == ["2026-01-01"] and usual.validation == []


def test_a_window_ends_at_the_largest_setting():
    assert len(windows(days=700, clicks=1)[1].training) == 366


def test_a_file_of_two_landing_zones_counts_once(tmp_path: Path):
    day = pl.DataFrame({"event_type": ["View", "View", "Purchase", "Impression"]})
    for zone, name in (("new", "a"), ("old", "a"), ("old", "b")):
        folder = tmp_path / zone / "interactions/2026-01-01"
        folder.mkdir(parents=True, exist_ok=True)
        day.write_parquet(folder / f"{name}.parquet")
    folders = [tmp_path / "new", tmp_path / "old"]
    assert clicks_by_day(folders, ["2026-01-01", "2026-01-02"]) == {
        "2026-01-01": 4,
        "2026-01-02": 0,
    }
