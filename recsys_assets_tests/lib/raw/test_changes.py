"""Test which days of the landing zone differ, by content, from those that were read."""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl
import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.files import sha256_json
from recsys_assets.lib.landing.content import LandingContent
from recsys_assets.lib.raw.changes import DayChange, changed_days
from recsys_assets.partitions import day_bounds

DAY = "2026-01-05"


class Zone:
    """A landing zone and what was read of it."""

    def __init__(self, folder: Path) -> None:
        self.store = ArtifactStore(folder / "artifacts")
        self.folder = folder / "landing" / "interactions" / DAY
        self.folder.mkdir(parents=True)
        self.content = LandingContent(str(folder / "landing"), folder / "cache")

    def land(self, name: str, rows: int, first: int = 0) -> None:
        pl.DataFrame({"event_id": [f"e{n}" for n in range(first, first + rows)]}).write_parquet(
            self.folder / name
        )

    def read(self) -> None:
        """Publish raw/interactions of the files as they are."""
        digests = self.content.digests(DAY)
        inputs = {"landing": sha256_json(digests)}
        with self.store.stage("raw/interactions", DAY, inputs=inputs) as staged:
            (staged.path / "a").write_text(sha256_json(digests))
            files = {name: self.content.rows(DAY, name) for name in digests}
            staged.publish({"files": files, "file_digests": [*digests.items()]})

    def change(self) -> DayChange | None:
        return changed_days(self.content, self.store, [DAY]).get(DAY)


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    """Return a zone with one file of 120 rows, which was read."""
    zone = Zone(tmp_path)
    zone.land("log.parquet", 120)
    zone.read()
    return zone


def test_the_same_content_written_again_is_no_change(zone: Zone) -> None:
    zone.land("log.parquet", 120)
    assert zone.change() is None


def test_a_file_that_is_written_again_is_named_with_its_rows(zone: Zone) -> None:
    zone.land("log.parquet", 121)
    change = zone.change()
    assert change is not None and change.read and change.rewritten == ("log.parquet",)
    assert str(change) == f"{DAY}: written again log.parquet (120 rows before, 121 rows now)"
    assert not change.only_late_events
    zone.read()
    assert zone.change() is None
    zone.land("log.parquet", 120)  # and back again
    assert zone.change() is not None


def test_a_half_written_file_is_named(zone: Zone) -> None:
    whole = (zone.folder / "log.parquet").read_bytes()
    (zone.folder / "log.parquet").write_bytes(whole[: len(whole) // 2])
    assert "120 rows before, not readable now" in str(zone.change())


def test_late_events_of_visitors_are_told_apart(zone: Zone) -> None:
    zone.land("events-1768000000000-0.parquet", 3, first=500)
    change = zone.change()
    assert change is not None and change.only_late_events
    assert str(change) == f"{DAY}: added events-1768000000000-0.parquet (3 rows)"
    zone.land("more.parquet", 1, first=900)
    change = zone.change()
    assert change is not None and not change.only_late_events


def test_a_removed_and_a_renamed_file_are_named(zone: Zone) -> None:
    zone.land("second.parquet", 5, first=500)
    zone.read()
    (zone.folder / "second.parquet").rename(zone.folder / "third.parquet")
    assert str(zone.change()) == f"{DAY}: renamed second.parquet to third.parquet"
    (zone.folder / "third.parquet").unlink()
    change = zone.change()
    assert change is not None and not change.emptied
    assert str(change) == f"{DAY}: removed second.parquet (5 rows)"


def test_a_day_whose_files_are_all_gone_is_emptied(zone: Zone) -> None:
    (zone.folder / "log.parquet").unlink()
    change = zone.change()
    assert change is not None and change.emptied and change.removed == ("log.parquet",)
    zone.read()
    assert zone.change() is None


def test_a_day_that_was_read_while_it_was_open_is_not_read(
    zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_until = day_bounds(DAY)[1]
    monkeypatch.setattr(time, "time", lambda: float(open_until - 3_600))
    zone.land("morning.parquet", 2, first=300)
    zone.read()
    zone.land("evening.parquet", 2, first=400)
    change = zone.change()
    assert change is not None and not change.read and change.added == ("evening.parquet",)


def test_a_day_of_an_older_form_is_compared_by_its_digest_or_its_names(tmp_path: Path) -> None:
    zone = Zone(tmp_path)
    zone.land("log.parquet", 120)
    digest = sha256_json(zone.content.digests(DAY))
    with zone.store.stage("raw/interactions", DAY, inputs={"landing": digest}) as staged:
        (staged.path / "a").write_text("a")
        staged.publish({"files": {"log.parquet": 120}})
    assert zone.change() is None
    zone.land("log.parquet", 121)
    assert str(zone.change()) == f"{DAY}: other content"


@pytest.mark.parametrize(("name", "read"), [("UTC", False), ("Europe/Berlin", True)])
def test_the_clock_of_the_shop_says_when_a_day_is_over(
    zone: Zone, monkeypatch: pytest.MonkeyPatch, name: str, read: bool
) -> None:
    at = day_bounds(DAY)[1] - 1_800  # half past midnight in Berlin
    monkeypatch.setattr(time, "time", lambda: float(at))
    zone.land("a.parquet", 2, first=300)
    zone.read()
    zone.land("b.parquet", 2, first=400)
    assert changed_days(zone.content, zone.store, [DAY], name)[DAY].read is read
