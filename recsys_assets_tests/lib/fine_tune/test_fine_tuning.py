"""What a fine-tune learns from: the plan's days, repeatable, and never a day twice."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.features.click_values import write_click_values
from recsys_assets.lib.fine_tune import fine_tuning
from recsys_assets.lib.release import releases
from recsys_assets.lib.release.rung import OLDER, Rung, RungName
from recsys_assets.partitions import window_days
from recsys_assets.release_files import DISMISSALS
from recsys_assets.settings import Settings
from recsys_assets_tests.support import small_window, tiny_release


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


def of_rung(monkeypatch: pytest.MonkeyPatch, name: RungName) -> None:
    """Let the champion be of a rung."""
    rung: Rung = {"name": name, "why": "3 clicks", "next": None}
    monkeypatch.setattr(
        releases, "open_release", lambda _, number: Served(number, "2026-01-12", rung=rung)
    )


@pytest.mark.parametrize("name", ["popularity", "item_to_item"])
def test_a_champion_without_sources_has_nothing_to_tune(home, monkeypatch, name: RungName):
    of_rung(monkeypatch, name)
    with pytest.raises(fine_tuning.FineTuneError, match=rf"rung {name} .*nor sources.*full_train"):
        fine_tuning.plan(*home, "2026-01-13")


def test_the_fusion_replays_no_day_because_it_has_no_model_that_learns(home, monkeypatch):
    of_rung(monkeypatch, "fusion")
    assert fine_tuning.plan(*home, "2026-01-13").training_days == ["2026-01-13"]


@dataclass(frozen=True)
class Days:
    """The last two days of a small shop, and a champion that has learnt neither."""

    store: ArtifactStore
    features: list[Artifact]
    masked: list[Artifact]
    champion: Artifact

    @classmethod
    def of(cls, home: Path, monkeypatch: pytest.MonkeyPatch, clicks_alone: bool = False) -> Days:
        as_of = "2026-11-19"
        store = small_window.write_window(Settings(home=home, seed=5), as_of)
        transforms = small_window.transforms(store, as_of)
        monkeypatch.setattr(fine_tuning, "transforms_of", lambda *_: transforms)
        features, masked = [], []
        for day in store.require("features/interactions", window_days(as_of)[-2:]):
            rows = pl.read_parquet(day.path("features.parquet"))
            if clicks_alone:
                rows = rows.filter(pl.col(c.CLICK) == 1)
                with store.stage(day.kind, day.partition) as staged:
                    shutil.copytree(day.local, staged.path, dirs_exist_ok=True)
                    for name in ("features.parquet", "manifest.json"):
                        (staged.path / name).unlink()
                    rows.write_parquet(staged.path / "features.parquet")
                    day = staged.publish()
            features.append(day)
            with store.stage("features/masked_train", day.partition) as staged:
                rows.write_parquet(staged.path / "masked.parquet")
                masked.append(staged.publish())
        return cls(store, features, masked, released(store, OLDER))

    def rows(self, champion: Artifact | None = None) -> tuple[Artifact, fine_tuning.FineTuneRows]:
        """Publish ``fine_tune/rows`` of the last day; return it and its metrics."""
        with self.store.stage(
            "fine_tune/rows", self.features[-1].partition, params={"seed": 7}
        ) as staged:
            found = fine_tuning.write_rows(
                self.store,
                champion or self.champion,
                self.masked,
                self.features,
                staged.path,
                seed=7,
            )
            return staged.publish(found), found


def released(store: ArtifactStore, rung: Rung) -> Artifact:
    with store.stage(releases.RELEASE, "000001", params={"rung": rung["name"]}) as staged:
        content = {**tiny_release.content(1), "rung": rung}
        (staged.path / "release.json").write_text(json.dumps(content))
        return staged.publish()


def test_a_ranker_learns_only_where_a_row_was_not_clicked(tmp_path, monkeypatch):
    shown, found = Days.of(tmp_path / "shown", monkeypatch).rows()
    assert found["learns"] == fine_tuning.learns(shown) == ["query_tower", "dlrm"]
    days = Days.of(tmp_path / "clicks", monkeypatch, clicks_alone=True)
    clicks, found = days.rows()
    assert found["learns"] == fine_tuning.learns(clicks) == ["query_tower"]
    train = pl.read_parquet(clicks.path("train.parquet"))
    assert train.height == found["train"] > 0 and train[c.CLICK].min() == 1
    held_out = fine_tuning.judged_rows(clicks, days.features[-1])
    assert 0 < held_out.height == found["holdout"] < 0.5 * found["train"]


def test_the_whole_day_judges_a_fusion_because_nothing_learns_it_before(tmp_path, monkeypatch):
    days = Days.of(tmp_path, monkeypatch)
    rung: Rung = {"name": "fusion", "why": "better", "next": None}
    rows, found = days.rows(released(days.store, rung))
    day = pl.read_parquet(days.features[-1].path("features.parquet"))
    assert found["learns"] == [] and set(rows.manifest["files"]) == {"plan.json"}
    assert found["train"] == 0 and found["holdout"] == day.height
    judged = fine_tuning.judged_rows(rows, days.features[-1])
    assert judged.height == day.height and judged[c.TIMESTAMP].is_sorted()


def test_a_model_that_does_not_learn_is_carried_with_its_files(tmp_path):
    store = ArtifactStore(tmp_path)
    with store.stage("ranking/dlrm", "2026-01-12") as staged:
        (staged.path / "checkpoint").mkdir()
        (staged.path / "checkpoint" / "weights").write_text("w")
        model = staged.publish({"rows": 3})
    with store.stage("fine_tune/dlrm", "2026-01-13") as staged:
        carried = staged.publish(fine_tuning.carry(model, staged.path))
    assert carried.digest == model.digest
    assert carried.metrics == {"rows": 3, "carried": True}


def test_the_ranker_learns_dismissals_with_their_weight_and_is_not_judged_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = Days.of(tmp_path, monkeypatch)
    day, masked = found.features[-1], []
    dismissed = (
        pl.read_parquet(day.path("features.parquet"))
        .head(3)
        .with_columns(pl.lit(0, pl.Int8).alias(c.CLICK))
    )
    for one in found.masked:
        with found.store.stage(one.kind, one.partition) as staged:
            shutil.copyfile(one.path("masked.parquet"), staged.path / "masked.parquet")
            dismissed.write_parquet(staged.path / DISMISSALS)
            masked.append(staged.publish())
    written, figures = {}, {}
    for weight in (0.0, 2.5):
        target = tmp_path / f"weight {weight}"
        target.mkdir()
        figures[weight] = fine_tuning.write_rows(
            found.store,
            found.champion,
            masked,
            found.features,
            target,
            seed=7,
            dismissal_weight=weight,
        )
        written[weight] = [pl.read_parquet(target / f"{p}.parquet") for p in ("train", "holdout")]
    (plain, held_out), (train, same) = written[0.0], written[2.5]
    assert (
        same.equals(held_out) and c.VALUE not in plain.columns and "dismissed" not in figures[0.0]
    )
    assert train.drop(c.VALUE).head(plain.height).equals(plain)
    assert train.height == plain.height + 6 and figures[2.5]["dismissed"] == 6
    assert train[c.VALUE].to_list() == [1.0] * plain.height + [2.5] * 6
    assert train[c.CLICK].tail(6).to_list() == [0] * 6
    assert train[c.ITEM_ID].tail(3).to_list() == train[c.ITEM_ID][-6:-3].to_list()


def test_rows_have_the_values_of_their_clicks_only_where_they_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = Days.of(tmp_path, monkeypatch)
    store, features, masked = found.store, found.features, found.masked
    as_of = str(features[-1].partition)
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
        fine_tuning.write_rows(
            store, found.champion, masked, features, target, seed=7, values=given
        )
        written[name] = {
            part: pl.read_parquet(target / f"{part}.parquet") for part in ("train", "holdout")
        }
    for part, valued in written["valued"].items():
        assert valued.drop(c.VALUE).equals(written["plain"][part])
        assert set(valued[c.VALUE].unique()) <= {1.0, 5.0}
        assert valued.filter(pl.col(c.CLICK) == 0)[c.VALUE].unique().to_list() == [1.0]
    assert written["valued"]["train"][c.VALUE].max() == 5.0
