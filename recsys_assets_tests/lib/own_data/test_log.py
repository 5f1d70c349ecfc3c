"""Test that a log's arrival column lands, and that a log without one is an archive."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys_assets.columns import ARRIVED_INTERACTIONS, RAW_INTERACTIONS
from recsys_assets.lib.landing.quarantine import quarantine_counts
from recsys_assets.lib.own_data.bring import Request, ingest
from recsys_assets.lib.own_data.mapping import LogRules
from recsys_assets.partitions import day_bounds

DAY = "2026-11-05"
START = day_bounds(DAY)[0]
NOW = START + 5 * 86_400


def take(tmp_path: Path, lines: list[str], mapping: dict[str, str]) -> pl.DataFrame:
    """Ingest a log and return the landed rows of the day."""
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["user_id,item_id,timestamp,came", *lines]) + "\n")
    landing = tmp_path / "landing"
    ingest(landing, Request(logs=[str(log)], rules=LogRules(mapping)), now=NOW, start_day=None)
    return pl.read_parquet(landing / "interactions" / DAY / "*.parquet").sort("timestamp")


def test_a_mapped_arrival_lands_in_its_own_form(tmp_path: Path) -> None:
    lines = [
        f"u1,i1,{START + 10},2026-11-05T15:00:00Z",
        f"u2,i1,{START + 20},",  # on time
        f"u3,i1,{START + 30},soon",
        f"u4,i1,{START + 40},2027-01-01T00:00:00Z",
    ]
    landed = take(tmp_path, lines, {"arrived": "came"})
    assert landed.columns == list(ARRIVED_INTERACTIONS)
    assert landed["arrived"].to_list() == [START + 15 * 3_600, None]
    assert quarantine_counts(str(tmp_path / "landing"), "interactions")["interactions"] == {
        "arrived cannot be read": 1,
        "arrived is in the future": 1,
    }


@pytest.mark.parametrize("mapping", [{}, {"arrived": "came"}])
def test_an_archive_says_no_arrival(tmp_path: Path, mapping: dict[str, str]) -> None:
    assert take(tmp_path, [f"u1,i1,{START},"], mapping).columns == list(RAW_INTERACTIONS)
