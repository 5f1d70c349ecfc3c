"""What a fine-tune learns from: the plan's days, repeatable, and never a day twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.features.click_values import write_click_values
from recsys_assets.lib.fine_tune import fine_tuning
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.rung import OLDER, Rung
from recsys_assets.partitions import window_days
from recsys_assets.settings import Settings
from recsys_assets_tests.support import small_window


@dataclass
class Served:
    number: int
    day: str
    generation: int = 1
    release: int = 1
    of_this_form: bool = True
    rung: Rung = field(default_factory=lambda: OLDER)
    look_back_days: int = 7

    def fits(self, settings: Settings) -> bool:
        return self.look_back_days == settings.look_back_days


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, ArtifactStore]:
    settings = Settings(home=tmp_path, start_day=date(2026, 1, 1))
    monkeypatch.setattr(fine_tuning, "read_champion", lambda _: Served(1, "2026-01-12"))
    monkeypatch.setattr(releases, "open_release", lambda _, number: Served(number, "2026-01-12"))
    trained = [f"2026-01-{day:02d}" for day in range(1, 10)]
    monkeypatch.setattr(releases, "training_days", lambda *_: trained)
    return settings, ArtifactStore(settings.artifacts)


def test_the_new_day_three_recent_and_two_older_days(home):
    plan = fine_tuning.plan(*home, "2026-01-13")
    *older, r1, r2, r3, new = plan.training_days
    assert [r1, r2, r3, new] == ["2026-01-10", "2026-01-11", "2026-01-12", "2026-01-13"]
    assert (
        len(older) == 2
        and older == sorted(older)
        and all("2026-01-01" <= day <= "2026-01-09" for day in older)
    )
    assert fine_tuning.plan(*home, "2026-01-13").training_days == plan.training_days


def test_different_days_replay_different_older_days(home):
    replays = {
        tuple(fine_tuning.plan(*home, f"2026-01-{day}").training_days[:2]) for day in range(13, 23)
    }
    assert len(replays) > 1


def test_a_day_that_the_champion_has_learnt_is_refused(home):
    with pytest.raises(fine_tuning.FineTuneError, match="has learnt up to 2026-01-12"):
        fine_tuning.plan(*home, "2026-01-12")


def test_a_champion_of_another_look_back_is_refused(home):
    settings, store = home
    with pytest.raises(
        fine_tuning.FineTuneError,
        match=r"features of 7 days of clicks, RECSYS_LOOK_BACK_DAYS is 30; run `recsys materialize`",
    ):
        fine_tuning.plan(settings.model_copy(update={"look_back_days": 30}), store, "2026-01-13")


def test_a_day_of_clicks_alone_is_refused(home, tmp_path):
    store = home[1]
    with store.stage("features/interactions", "2026-01-13") as staged:
        pl.DataFrame({c.EVENT_ID: ["a", "b"], c.CLICK: [1, 1]}).write_parquet(
            staged.path / "features.parquet"
        )
        features = staged.publish()
    with pytest.raises(
        fine_tuning.FineTuneError, match=r"every row of 2026-01-13 is clicked.*run full_training"
    ):
        fine_tuning.write_rows(store, features, [], [features], tmp_path, seed=7)


def test_a_champion_of_an_older_form_is_refused(home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        releases, "open_release", lambda _, number: Served(number, "2026-01-12", of_this_form=False)
    )
    with pytest.raises(fine_tuning.FineTuneError, match="built by an older version"):
        fine_tuning.plan(*home, "2026-01-13")


def test_without_a_champion_there_is_no_start(home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fine_tuning, "read_champion", lambda _: None)
    with pytest.raises(fine_tuning.FineTuneError, match="recsys promote"):
        fine_tuning.plan(*home, "2026-01-13")


def test_a_simple_champion_has_nothing_to_tune(home, monkeypatch: pytest.MonkeyPatch):
    rung: Rung = {"name": "popularity", "why": "3 clicks", "next": None}
    monkeypatch.setattr(
        releases, "open_release", lambda _, number: Served(number, "2026-01-12", rung=rung)
    )
    with pytest.raises(fine_tuning.FineTuneError, match=r"rung popularity .*full_training"):
        fine_tuning.plan(*home, "2026-01-13")


def test_rows_have_the_values_of_their_clicks_only_where_they_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    as_of = "2026-11-19"
    store = small_window.write_window(Settings(home=tmp_path, seed=5), as_of)
    transforms = small_window.transforms(store, as_of)
    monkeypatch.setattr(fine_tuning, "transforms_of", lambda *_: transforms)
    features = store.require("features/interactions", window_days(as_of)[-2:])
    masked = []
    for day in features:
        with store.stage("features/masked_train", day.partition) as staged:
            pl.read_parquet(day.path("features.parquet")).write_parquet(
                staged.path / "masked.parquet"
            )
            masked.append(staged.publish())
    days = [str(day.partition) for day in features]
    with store.stage("features/click_values", as_of) as staged:
        write_click_values(
            training=store.require("raw/interactions", days),
            validation=[],
            items=store.current("raw/items"),
            target=staged.path,
            event_values="AddToCart=4",
        )
        values = staged.publish()
    written = {}
    for name, given in {"plain": None, "valued": values}.items():
        target = tmp_path / name
        target.mkdir()
        fine_tuning.write_rows(store, features[0], masked, features, target, seed=7, values=given)
        written[name] = {
            part: pl.read_parquet(target / f"{part}.parquet") for part in ("train", "holdout")
        }
    for part, valued in written["valued"].items():
        assert valued.drop(c.VALUE).equals(written["plain"][part])
        assert set(valued[c.VALUE].unique()) <= {1.0, 5.0}
        assert valued.filter(pl.col(c.CLICK) == 0)[c.VALUE].unique().to_list() == [1.0]
    assert written["valued"]["train"][c.VALUE].max() == 5.0
