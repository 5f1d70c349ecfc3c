"""Tests that events land in the folder of their local day."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys_assets.serving.events.events import Event
from recsys_assets.serving.events.landing import LandingBuffer


def test_an_event_lands_in_the_day_of_the_zone(tmp_path: Path) -> None:
    late = 1_774_736_999  # 2026-03-28 22:29:59 UTC, half an hour before midnight in Berlin
    for zone, days in (
        ("UTC", ["2026-03-28"]),
        ("Europe/Berlin", ["2026-03-28", "2026-03-29"]),
        ("Asia/Tokyo", ["2026-03-29"]),
    ):
        folder = tmp_path / zone.replace("/", "-")
        buffer = LandingBuffer(str(folder), zone)
        for n, moment in enumerate((late, late + 1_801)):
            event = Event(
                event_id=f"e{n}", user_id="u", item_id="i", timestamp=moment, event_type="View"
            )
            buffer.add(f"{n}-0", event)
        assert buffer.write() == ["0-0", "1-0"]
        assert sorted(path.name for path in (folder / "interactions").iterdir()) == days


def test_an_event_arrives_when_the_stream_takes_it(tmp_path: Path) -> None:
    buffer = LandingBuffer(str(tmp_path))
    for stream_id, seconds in (("1793534400999-0", 0), ("1793538000000-4", 3_600)):
        buffer.add(stream_id, Event(user_id="u", item_id="i", timestamp=1_793_534_400 - seconds))
    buffer.write()
    [file] = tmp_path.rglob("*.parquet")
    assert pl.read_parquet(file)["arrived"].to_list() == [1_793_534_400, 1_793_538_000]
