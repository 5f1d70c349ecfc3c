"""Test volume, declared categories and rejected rows of the landing zone."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.columns import RAW_INTERACTIONS
from recsys_assets.lib.landing import zone
from recsys_assets.lib.quality import contracts
from recsys_assets.lib.raw import raw_tables
from recsys_assets.lib.raw.volume import volume_against_history

TODAY = "2026-01-20"
WEEK = {f"2026-01-{day}": 1000 for day in range(12, 18)}


def store_with(tmp_path: Path, exposures: dict[str, int]) -> ArtifactStore:
    store = ArtifactStore(tmp_path)
    for day, count in exposures.items():
        with store.stage("raw/interactions", day) as staged:
            (staged.path / "a").write_text(day)
            staged.publish({"exposures": count})
    return store


def landed(exposures: int, others: int = 0) -> raw_tables.Landed:
    events = (
        ["Impression"] * (exposures // 2)
        + ["View"] * (exposures - exposures // 2)
        + ["Purchase"] * others
    )
    frame = pl.DataFrame(
        {"event_type": events}, schema={"event_type": getattr(pl, RAW_INTERACTIONS["event_type"])}
    )
    return raw_tables.Landed(frame, "digest", {"simulated.parquet": frame.height})


@pytest.mark.parametrize(
    ("history", "exposures", "day", "within"),
    [
        ({}, 7, "2026-01-01", True),  # the first day: nothing to compare with
        ({"2026-01-01": 100}, 20, "2026-01-02", True),
        ({"2026-01-01": 100}, 500, "2026-01-02", True),
        ({"2026-01-01": 100}, 19, "2026-01-02", True),  # 20 or fewer by chance
        ({"2026-01-01": 100}, 2, "2026-01-02", False),
        ({"2026-01-01": 100}, 600, "2026-01-02", False),
        ({"2026-01-01": 40}, 3, "2026-01-02", True),  # too few to judge
        # a sale like that of the same weekday is usual, whatever the other days
        (
            {"2026-01-03": 900, "2026-01-10": 1000, **{f"2026-01-{d}": 100 for d in range(11, 17)}},
            1000,
            "2026-01-17",
            True,
        ),
        # a Sunday of a shop that closes on Sundays
        ({"2026-01-04": 0, "2026-01-11": 0, "2026-01-17": 500}, 0, "2026-01-18", True),
        ({"2026-01-01": 100}, 0, "2026-01-02", False),
        # 40 clicks a day: chance alone gives no failure
        ({"2026-01-01": 40}, 6, "2026-01-02", True),
        ({"2026-01-01": 40}, 0, "2026-01-02", True),
        ({"2026-01-01": 40}, 210, "2026-01-02", True),
        ({"2026-01-01": 40}, 400, "2026-01-02", False),
        # the same weekday: a Sunday of a shop that closes on Sundays, and a shop whose Sunday is
        # the large day (2026-01-04, -11, -18 are Sundays)
        ({**WEEK, "2026-01-04": 0, "2026-01-11": 0}, 0, "2026-01-18", True),
        ({**WEEK, "2026-01-04": 0, "2026-01-11": 0}, 12, "2026-01-18", True),
        ({**WEEK, "2026-01-04": 0, "2026-01-11": 0}, 90_000, "2026-01-18", False),
        ({**WEEK, "2026-01-04": 9_000, "2026-01-11": 9_000}, 9_000, "2026-01-18", True),
        ({**WEEK, "2026-01-04": 9_000, "2026-01-11": 9_000}, 1_000, "2026-01-18", False),
        ({"2026-01-01": 100}, 3, TODAY, True),  # the open day has only begun
        ({"2026-01-01": 100}, 1000, TODAY, False),
        (
            {f"2026-01-{d:02}": 100 if d != 9 else 1000 for d in range(3, 10)},
            1000,
            "2026-01-10",
            False,
        ),  # one spike is no history
        (
            {"2026-01-01": 9000, **{f"2026-01-{d:02}": 100 for d in range(3, 10)}},
            100,
            "2026-01-10",
            True,
        ),
        ({"2026-01-11": 9000}, 100, "2026-01-10", True),  # later days are no history
        ({"2026-01-01": 0}, 100, "2026-01-02", True),  # a day without an exposure does not count
    ],
)
def test_volume(tmp_path, history, exposures, day, within):
    volume = volume_against_history(
        landed(exposures, others=1000), store_with(tmp_path, history), day, TODAY
    )
    assert volume.within is within and volume.exposures == exposures


def test_a_volume_failure_names_files_counts_and_the_remedy(tmp_path):
    text = str(
        volume_against_history(
            landed(1000, 50), store_with(tmp_path, {"2026-01-01": 100}), "2026-01-02", TODAY
        )
    )
    for word in (
        "interactions/2026-01-02",
        "simulated.parquet (1050 rows)",
        "event_type",
        "1000 exposures",
        "2 to 589 are usual",
        "accept_volume",
        "recsys ingest-day 2026-01-02 --accept-volume",
    ):
        assert word in text


@pytest.mark.parametrize("content", ["{}", "[]", '["books", 3]', "books"])
def test_a_bad_declaration_of_categories_is_named(tmp_path, content):
    assert raw_tables.declared_categories(str(tmp_path)) is None
    (tmp_path / "catalogue").mkdir()
    (tmp_path / zone.CATEGORIES_FILE).write_text(content)
    with pytest.raises(contracts.ContractViolation, match=r"categories\.json"):
        raw_tables.declared_categories(str(tmp_path))


def test_the_digest_follows_every_byte_of_every_file(tmp_path):
    folder = tmp_path / "interactions" / "2026-01-02"
    folder.mkdir(parents=True)
    start = 1_767_312_000
    frame = pl.DataFrame(
        {
            "event_id": ["a"],
            "user_id": ["u"],
            "item_id": ["i"],
            "timestamp": [start],
            "device_type": ["mobile"],
            "event_type": ["View"],
            "click": [1],
        },
        schema={n: getattr(pl, t) for n, t in RAW_INTERACTIONS.items()},
    )
    frame.write_parquet(folder / "events-1.parquet")
    first = raw_tables.landed_interactions(str(tmp_path), "2026-01-02")
    assert raw_tables.landed_interactions(f"file://{tmp_path}", "2026-01-02").digest == first.digest
    frame.with_columns(event_id=pl.lit("b")).write_parquet(folder / "events-2.parquet")
    second = raw_tables.landed_interactions(str(tmp_path), "2026-01-02")
    (folder / "events-2.parquet").rename(folder / "events-3.parquet")
    third = raw_tables.landed_interactions(str(tmp_path), "2026-01-02")
    assert len({first.digest, second.digest, third.digest}) == 3 and second.exposures == 2


def test_nothing_was_refused_where_nothing_was_ingested(tmp_path):
    assert raw_tables.quarantine_counts(str(tmp_path), "interactions") == {}
