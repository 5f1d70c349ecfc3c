"""Test what the monitor knows of the releases that answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.drift.served_releases import (
    InService,
    in_service,
    releases_of,
    scored,
    served_on,
)
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.releases import RELEASE, open_release
from recsys_assets.partitions import day_bounds
from recsys_assets.release_files import RELEASE_FILE, SAMPLING, model_file
from recsys_assets.settings import Settings
from recsys_assets_tests.support.bare_releases import serve, write_release


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def with_weight(store: ArtifactStore, number: int, weight: float) -> None:
    """Publish a bare release again, with the weight of its similarity."""
    content = open_release(store, number).artifact.path(RELEASE_FILE).read_text()
    with store.stage(RELEASE, f"{number:06d}") as staged:
        (staged.path / RELEASE_FILE).write_text(content)
        path = staged.path / model_file("softmax_sampling", SAMPLING)
        path.parent.mkdir(parents=True)
        write_json(path, {"retrieval_weight": weight})
        staged.publish({})


def test_only_the_ranker_alone_gives_probabilities(home: Settings) -> None:
    store = ArtifactStore(home.artifacts)
    simple = {"name": "popularity", "why": "few clicks", "next": None}
    for number in (1, 2, 3):
        write_release(store, home, number, "2026-03-02", generation=1)
    write_release(store, home, 4, "2026-03-02", rung=simple)
    with_weight(store, 1, 0)
    with_weight(store, 2, 6.0)
    with_weight(store, 4, 0)
    opened = releases_of(store, [9, 4, 3, 2, 1, 1])  # 9 does not exist
    assert [one.partition for one in opened] == ["000001", "000002", "000003", "000004"]
    found = scored(opened, [1, 2, 3, 4, 9])
    assert {number: one["probabilities"] for number, one in found.items()} == {
        **{1: True, 2: False, 3: False, 4: False, 9: False}
    }
    assert [found[number]["family"] for number in (1, 2, 3, 4, 9)] == [1, 1, 1, 4, 9]


def test_the_release_of_a_moment_is_the_last_that_was_promoted_before(home: Settings) -> None:
    assert in_service(read_champion(home), 10**12) is None
    serve(home, 5, before=[2, 3], at=1_000)
    champion = read_champion(home)
    assert in_service(champion, 1_000) is None and in_service(champion, 1_001) == 5


def test_what_served_on_a_day(home: Settings) -> None:
    store = ArtifactStore(home.artifacts)
    days = [f"2026-03-{day:02d}" for day in range(2, 12)]
    for day in days[:2]:
        with store.stage("features/interactions", day) as staged:
            (staged.path / "a").write_text(day)
            staged.publish({})
    inputs = {"train": store.require("features/interactions", days[:2])}
    with store.stage("features/workflows", days[1], inputs=inputs) as staged:
        (staged.path / "a").write_text("w")
        workflows = staged.publish({})
    trained = tuple(days[:2])
    write_release(store, home, 1, days[1], inputs={"workflows": workflows})
    write_release(store, home, 2, days[1], kind="fine_tune", generation=1)
    write_release(store, home, 3, days[1], kind="simple")
    serve(home, 1, at=day_bounds(days[3])[0] + 60)
    assert served_on(home, store, days[2], 3) == InService(None)
    assert served_on(home, store, days[3], 3) == InService(1, trained, ())
    assert served_on(home, store, days[6], 3) == InService(1, trained, (days[4], days[5]))
    serve(home, 2, before=[1], at=day_bounds(days[7])[0] + 60)
    assert served_on(home, store, days[6], 3).release == 1
    # a fine-tune continues its generation
    assert served_on(home, store, days[9], 3) == InService(2, trained, tuple(days[4:7]))
    serve(home, 3, before=[1, 2], at=day_bounds(days[8])[0] + 60)
    assert served_on(home, store, days[9], 3) == InService(3, (), ())
    serve(home, 8, before=[1, 2, 3], at=day_bounds(days[8])[0] + 90)  # its files are gone
    assert served_on(home, store, days[9], 3) == InService(None)
