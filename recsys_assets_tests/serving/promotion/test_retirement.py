"""A champion of an older form is set aside before the servers start; one of today's stays."""

from __future__ import annotations

import json

import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.release import champion, releases
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.serving.promotion.retirement import retire_older_form
from recsys_assets.settings import Settings
from recsys_assets_tests.lib.release.test_releases import Generation


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path)


def _in_force(settings: Settings) -> None:
    """Release 1 as the champion, with something in the live repository."""
    Generation(ArtifactStore(settings.artifacts)).release(settings)
    path = champion.champion_path(settings)
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps(
            {
                "release": 1,
                "generation": 1,
                "digest": "d",
                "versions": {},
                "promoted_at": 0,
                "previous": [],
                "history": [],
            }
        )
    )
    (settings.model_repository / "query_tower" / "1").mkdir(parents=True)


def test_without_a_champion_there_is_nothing_to_set_aside(settings):
    assert retire_older_form(settings, print) == []


def test_a_champion_of_todays_form_stays(settings):
    _in_force(settings)
    assert retire_older_form(settings, print) == []
    assert (
        read_champion(settings).release == 1
        and (settings.model_repository / "query_tower").is_dir()
    )


def test_a_champion_of_an_older_form_is_set_aside_whole_and_once(settings, monkeypatch):
    _in_force(settings)
    monkeypatch.setattr(
        releases, "CODE_VERSION", "a later one"
    )  # the release says which code built it
    said: list[str] = []
    assert retire_older_form(settings, said.append) == [1]
    assert len(said) == 1 and "release 1" in said[0] and "older version" in said[0]
    assert read_champion(settings) is None and not settings.model_repository.exists()
    aside = settings.home / "serving" / "retired" / "000001"
    assert (aside / "model_repository" / "query_tower" / "1").is_dir() and json.loads(
        (aside / "champion.json").read_text()
    )["release"] == 1
    assert (
        releases.open_release(ArtifactStore(settings.artifacts), 1).number == 1
    )  # still among the artifacts
    assert retire_older_form(settings, said.append) == []
