"""Test which releases wait for their promotion."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.waiting import waiting_releases
from recsys_assets.settings import Settings
from recsys_assets_tests.support.bare_releases import serve, write_release

FULL = {"name": "full", "why": "", "next": None}
SIMPLE = {"name": "popularity", "why": "", "next": None}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings of a new home."""
    return Settings(home=tmp_path)


@pytest.fixture
def store(settings: Settings) -> ArtifactStore:
    """Return the artifact store of the home."""
    return ArtifactStore(settings.artifacts)


def waiting(store: ArtifactStore, settings: Settings) -> list[int]:
    """Return the numbers of the waiting releases."""
    return [one.number for one in waiting_releases(store, settings)]


def test_the_newest_day_and_the_highest_rung_come_first(
    store: ArtifactStore, settings: Settings
) -> None:
    assert waiting(store, settings) == []
    write_release(store, settings, 1, "2026-03-05", rung=FULL)
    write_release(store, settings, 2, "2026-03-06", rung=SIMPLE)
    write_release(store, settings, 3, "2026-03-06", rung=FULL)
    write_release(store, settings, 4, "2026-03-07", passed=False)
    assert waiting(store, settings) == [3, 2, 1]


def test_what_this_home_cannot_serve_does_not_wait(
    store: ArtifactStore, settings: Settings
) -> None:
    write_release(store, settings, 1, "2026-03-05", form="0")
    write_release(store, settings, 2, "2026-03-05", look_back_days=settings.look_back_days + 1)
    write_release(store, settings, 3, "2026-03-05")
    with store.stage(releases.SERVED_CHECK, "000003") as staged:
        write_json(staged.path / "check.json", {})
        staged.publish({"passed": False})
    assert waiting(store, settings) == []


def test_only_better_releases_than_all_that_served_wait(
    store: ArtifactStore, settings: Settings
) -> None:
    for number, day in enumerate(["2026-03-05", "2026-03-06", "2026-03-04", "2026-03-07"], 1):
        write_release(store, settings, number, day)
    serve(settings, 1)
    assert waiting(store, settings) == [4, 2]  # 3 has learned an older day
    serve(settings, 1, before=[4])  # rolled back from 4: 2 would undo it within a minute
    assert waiting(store, settings) == []
    write_release(store, settings, 5, "2026-03-08")
    assert waiting(store, settings) == [5]
    serve(settings, 4, before=[1])
    assert waiting(store, settings) == [5]
