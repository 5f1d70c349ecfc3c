"""Test that days of the form before arrivals were kept are read beside newer ones."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.features import daily
from recsys_assets.lib.raw.rows import INTERACTIONS_FILE, RAW_INTERACTIONS, scan_interactions

DAYS = ["2026-01-05", "2026-01-06", "2026-01-07"]


@pytest.fixture
def days(tmp_path: Path) -> list[Artifact]:
    """Return a day of the older form, one with late events and one without."""
    store, made = ArtifactStore(tmp_path), []
    for number, (day, late) in enumerate(zip(DAYS, (None, 1, 0), strict=True)):
        rows = pl.DataFrame(
            {
                "event_id": [f"e{number}"],
                "user_id": ["u"],
                "item_id": ["i"],
                "timestamp": [1_000 * number],
                "event_type": ["View"],
            }
        )
        if late is not None:
            rows = rows.with_columns(arrived=pl.col("timestamp") + 500 * late)
        with store.stage(RAW_INTERACTIONS, day) as staged:
            rows.write_parquet(staged.path / INTERACTIONS_FILE)
            made.append(staged.publish({} if late is None else {"late": late}))
    return made


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_both_forms_are_read_in_any_order(days: list[Artifact], order: tuple[int, ...]) -> None:
    read = scan_interactions([days[n] for n in order]).select("event_id").collect()
    assert read["event_id"].to_list() == [f"e{n}" for n in order]


def test_an_older_day_was_on_time_and_is_read_beside_late_events(days: list[Artifact]) -> None:
    clicks = daily._clicks(days)
    assert clicks.select("timestamp", "arrived").rows() == [(0, 0), (1_000, 1_500), (2_000, 2_000)]
    # without late events, the column is not read
    assert "arrived" not in daily._clicks([days[0], days[2]]).columns
