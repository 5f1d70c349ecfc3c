"""Test that features of an older version of a day are found and refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.features.freshness import (
    FEATURES,
    MASKED,
    WORKFLOWS,
    Freshness,
    Outdated,
    outdated_days,
    require_fresh,
)

DAYS = ["2026-01-05", "2026-01-06", "2026-01-07"]


class Shop:
    """Days of raw rows, features and masked rows; features read the day before too."""

    def __init__(self, folder: Path) -> None:
        self.store = ArtifactStore(folder)
        for day in DAYS:
            self.read(day)
        for day in DAYS:
            self.compute(day)

    def read(self, day: str, rows: str = "rows", profile: str = "", landing: str = "") -> Artifact:
        inputs = {"landing": landing or rows}
        with self.store.stage("raw/interactions", day, inputs=inputs) as staged:
            (staged.path / "interactions.parquet").write_text(f"{day} {rows}")
            (staged.path / "profile.parquet").write_text(profile)
            return staged.publish()

    def compute(self, day: str, masked: bool = True) -> None:
        at = DAYS.index(day)
        read = self.store.require("raw/interactions", DAYS[max(0, at - 1) : at + 1])
        with self.store.stage(FEATURES, day, inputs={"interactions": read}) as staged:
            (staged.path / "features.parquet").write_text(str([one.digest for one in read]))
            made = staged.publish()
        if masked:
            with self.store.stage(MASKED, day, inputs={"features": made}) as staged:
                (staged.path / "masked.parquet").write_text(made.digest)
                staged.publish()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_corrected_day_makes_the_days_that_read_it_outdated(shop: Shop) -> None:
    assert outdated_days(shop.store, DAYS) == {}
    shop.read(DAYS[1], "corrected")
    raw = ("raw/interactions", DAYS[1])
    assert outdated_days(shop.store, DAYS) == {DAYS[1]: [raw], DAYS[2]: [raw]}
    shop.compute(DAYS[1])
    shop.compute(DAYS[2], masked=False)
    assert outdated_days(shop.store, DAYS) == {DAYS[2]: [(FEATURES, DAYS[2])]}
    shop.compute(DAYS[2])
    assert outdated_days(shop.store, DAYS) == {}


def test_the_day_as_it_was_makes_nothing_outdated(shop: Shop) -> None:
    first = shop.store.current("raw/interactions", DAYS[0])
    shop.read(DAYS[0], "corrected")
    shop.store.reuse(first)
    assert outdated_days(shop.store, DAYS) == {}


def test_another_catalogue_makes_nothing_outdated(shop: Shop) -> None:
    shop.read(DAYS[0], profile="other categories")
    assert outdated_days(shop.store, DAYS) == {}


def test_the_refusal_names_days_and_remedy(shop: Shop) -> None:
    shop.read(DAYS[1], "corrected")
    opened = [one.manifest for one in shop.store.require(MASKED, DAYS)]
    with pytest.raises(Outdated) as refused:
        require_fresh(shop.store, opened)
    for words in (
        f"{MASKED} of {DAYS[1]}, {DAYS[2]}: made before raw/interactions of {DAYS[1]} changed",
        f"`recsys ingest-day {DAYS[1]} --until {DAYS[2]}`",
        "daily_features",
    ):
        assert words in str(refused.value)
    require_fresh(shop.store, opened[:1])
    # the remedy takes days too that were not asked for
    with pytest.raises(Outdated, match=rf"of {DAYS[1]}: .*{DAYS[1]} --until {DAYS[2]}`"):
        require_fresh(shop.store, opened[:2])


def test_workflows_of_older_features_are_refused(shop: Shop) -> None:
    train = shop.store.require(FEATURES, DAYS)
    with shop.store.stage(WORKFLOWS, DAYS[2], inputs={"train": train}) as staged:
        (staged.path / "a").write_text("a")
        workflows = staged.publish()
    require_fresh(shop.store, [workflows.manifest])
    shop.read(DAYS[2], "corrected")
    shop.compute(DAYS[2])
    with pytest.raises(Outdated, match=rf"{WORKFLOWS} of .*{DAYS[2]}.*full_training again"):
        require_fresh(shop.store, [workflows.manifest])
    # what was learned before is told by the day, whatever was computed since
    assert Freshness(shop.store).corrected(workflows.manifest) == {DAYS[2]}


def test_a_day_of_the_same_files_was_not_corrected(shop: Shop) -> None:
    train = shop.store.require(FEATURES, DAYS)
    with shop.store.stage(WORKFLOWS, DAYS[2], inputs={"train": train}) as staged:
        (staged.path / "a").write_text("a")
        workflows = staged.publish()
    shop.read(DAYS[1], "rows with arrivals", landing="rows")
    assert Freshness(shop.store).corrected(workflows.manifest) == set()


def test_what_was_made_from_no_files_is_never_outdated(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with store.stage(MASKED, DAYS[0]) as staged:
        (staged.path / "a").write_text("a")
        staged.publish()
    assert outdated_days(store, DAYS) == {}


def test_a_store_that_was_moved_knows_its_days(shop: Shop, tmp_path: Path) -> None:
    """The addresses in its manifests are those of the place where they were written."""
    recorded = shop.store.current(FEATURES, DAYS[1]).manifest
    moved = ArtifactStore(tmp_path.rename(tmp_path.with_name("moved")))
    fresh = Freshness(moved)
    assert fresh.corrected(recorded) == set()
    assert outdated_days(moved, DAYS) == {}
    shop.store = moved
    shop.read(DAYS[1], "corrected")
    assert Freshness(moved).corrected(recorded) == {DAYS[1]}
    assert set(outdated_days(moved, DAYS)) == set(DAYS[1:])
