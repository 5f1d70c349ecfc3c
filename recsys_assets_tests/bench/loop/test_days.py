"""A shop that lives by its schedules: real runs, real servers, and a clock that is moved."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from recsys_assets.bench.loop import days
from recsys_assets.bench.loop.days_process import VISITORS, Day, figures
from recsys_assets.settings import Settings


@pytest.mark.services
@pytest.mark.training
@pytest.mark.slow
def test_a_shop_lives_two_days_by_its_schedules_alone(tmp_path: Path) -> None:
    said: list[str] = []
    found = days.measure(Settings(home=tmp_path / "home"), tmp_path, said.append, days=2)
    assert (found["days"], found["served"], found["failed_runs"], found["late"]) == (2, 2, 0, 0)
    assert {name: found["runs"][name] for name in ("daily_ingest", "feature_store_refresh")} == {
        "daily_ingest": 2,
        "feature_store_refresh": 2,
    }
    # the release of each day is of that day: both were learnt, by one of both ways
    assert found["runs"]["fine_tune"] + found["runs"].get("promote", 0) >= 2
    assert found["disk_ratio"] > 1 and len(said) == 1
    lived = (tmp_path / "home" / "logs" / "days.log").read_text().splitlines()
    assert len(lived) == 2 and "morning='2025-03-11'" in lived[0]


def test_the_figures_say_what_was_missing() -> None:
    whole = Day("2025-03-11", [("daily_ingest", True)], lists=VISITORS + 1, bytes=100)
    whole.release_day = "2025-03-10"
    behind = Day("2025-03-12", [("fine_tune", False)], lists=VISITORS + 1, bytes=150)
    behind.release_day = "2025-03-10"
    dark = Day("2025-03-13", lists=VISITORS, bytes=200)
    found = figures([whole, behind, dark], 1.0)
    assert (found["days"], found["served"], found["not_served"], found["late"]) == (3, 2, 1, 1)
    assert found["failed_runs"] == 1 and found["runs"] == {"daily_ingest": 1, "fine_tune": 1}
    assert (found["disk_ratio"], found["bytes_per_day"]) == (2.0, 50)


def test_the_calendar_is_a_monday_and_clocks_change_within_it() -> None:
    assert days.START.weekday() == 0
    assert 14 < (date(2025, 3, 30) - days.START).days < 14 + days.DAYS
