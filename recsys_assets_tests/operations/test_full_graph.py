"""Tests of the days that are materialised, and of the default as-of day."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.release import releases
from recsys_assets.operations import full_graph
from recsys_assets.operations.jobs import Clock, PipelineFailed
from recsys_assets.settings import Settings
from recsys_assets_tests.support.bare_releases import write_release


def home(folder: Path, *landed: str, ingested: bool = True) -> Settings:
    for day in landed:
        (folder / "landing/interactions" / day).mkdir(parents=True)
    if ingested:
        (folder / "landing").mkdir(exist_ok=True)
        (folder / "landing/ingested.json").write_text(json.dumps({}))
    return Settings(home=folder, start_day=date(2026, 1, 1))


def test_an_ingested_log_has_every_day_up_to_its_last_closed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "today", lambda _: date(2026, 1, 6))
    settings = home(tmp_path, "2026-01-01", "2026-01-04", "2026-01-06")  # the last one is open
    days = full_graph.history(settings)
    assert days == ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]
    assert full_graph.default_as_of(settings, days) == "2026-01-04"


def test_a_log_without_a_closed_day_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "today", lambda _: date(2026, 1, 6))
    with pytest.raises(PipelineFailed, match="no closed day from 2026-01-01 on"):
        full_graph.history(home(tmp_path, "2026-01-06"))


def test_the_simulated_default_is_the_first_whole_window(tmp_path: Path) -> None:
    settings = home(tmp_path, ingested=False)
    days = full_graph.history(settings)
    assert len(days) == partitions.SIMULATED_DAYS
    assert full_graph.default_as_of(settings, days) == "2026-01-12"
    longer = settings.model_copy(update={"train_days": 30})
    assert full_graph.default_as_of(longer, days) == days[-1]


class Told(Clock):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, message: str, *_: object) -> None:
        self.said.append(message)


def test_a_run_names_the_releases_that_its_gate_kept_back(tmp_path: Path) -> None:
    told = Told()
    settings = home(tmp_path)
    store = ArtifactStore(settings.artifacts)
    write_release(store, settings, 1, "2026-01-05")
    write_release(store, settings, 2, "2026-01-05", passed=False)
    before = store.partitions("serving/release")
    write_release(store, settings, 3, "2026-01-05", passed=False)
    full_graph.say_releases(store, settings, told, before)
    assert told.said[0] == (
        "release 3 of 2026-01-05 (rung full) did not pass its gate: auc = 0.4 (threshold 0.6)"
    )
    assert len(told.said) == 2 and told.said[1].startswith(
        "release 1 of 2026-01-05 passed its gate"
    )


def test_a_run_names_the_releases_that_serve_other_lists(tmp_path: Path) -> None:
    told = Told()
    settings = home(tmp_path)
    store = ArtifactStore(settings.artifacts)
    write_release(store, settings, 1, "2026-01-05")
    with store.stage(releases.SERVED_CHECK, "000001", inputs={}) as staged:
        (staged.path / "outcome.json").write_text("{}")
        staged.publish({"passed": False})
    with pytest.raises(releases.ReleaseError, match="serves the lists that were evaluated"):
        full_graph.say_releases(store, settings, told, [])
    assert told.said == [
        "release 1 of 2026-01-05 (rung full) serves other lists than those that were evaluated; "
        "`recsys check-served 1` shows one"
    ]
