"""The rows of an incremental training: which are learnt, in which order, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets import local_time
from recsys_assets.ads_columns import COLUMNS
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.ads_ctr import incremental
from recsys_assets.lib.ads_ctr.ads_transforms import AdsTransforms
from recsys_assets.settings import Settings
from recsys_assets_tests.support.small_ads_feedback import (
    TRANSFORMS,
    land,
    predictions,
    serve_ads,
    write_ads_release,
)

DAY, NEXT = "2026-03-10", "2026-03-11"
NOON = float(local_time.day_bounds(DAY, "Europe/Berlin")[0] + 12 * 3_600)
LATER = NOON + 30 * 3_600


class Home:
    """A home in Berlin with a champion and two days of predictions."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder, time_zone="Europe/Berlin", ads_label_hours=2.0)
        self.store = ArtifactStore(self.settings.artifacts)
        zone = "Europe/Berlin"
        self.first = predictions(200, NOON)
        # the same clock time, one day later
        self.second = predictions(100, NOON + 86_400, seed=2)
        land(self.settings.landing, self.first, "1", zone)
        land(self.settings.landing, self.second, "2", zone)

    def champion(self, day: str = DAY, consumed_to: float | None = None) -> incremental.TuneStart:
        write_ads_release(self.store, 1, day, consumed_to=consumed_to)
        serve_ads(self.settings, [(1, int(NOON))])
        return incremental.start(self.store, self.settings)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def ids(rows: pl.DataFrame) -> list[str]:
    return rows["prediction_id"].to_list()


def test_without_a_champion_there_is_no_start(home: Home) -> None:
    with pytest.raises(incremental.IncrementalError, match="no champion of the ads ranker"):
        incremental.start(home.store, home.settings)


def test_an_older_champion_is_refused(home: Home) -> None:
    write_ads_release(home.store, 1, DAY, form="0")
    serve_ads(home.settings, [(1, 1)])
    with pytest.raises(incremental.IncrementalError, match=r"release 1.*older version"):
        incremental.start(home.store, home.settings)


def test_a_full_training_learnt_the_days_before_its_own(home: Home) -> None:
    begin = home.champion()
    assert begin.consumed_to == 0.0
    found = incremental.unlearnt(home.settings, begin, NEXT, LATER)
    assert ids(found) == ids(home.first) + ids(home.second)
    assert ids(incremental.unlearnt(home.settings, begin, DAY, LATER)) == ids(home.first)
    later = home.champion(NEXT)
    assert ids(incremental.unlearnt(home.settings, later, NEXT, LATER)) == ids(home.second)
    assert incremental.unlearnt(home.settings, later, DAY, LATER).is_empty()


def test_an_incremental_training_takes_what_was_settled_after_the_one_before(home: Home) -> None:
    begin = home.champion(consumed_to=home.first["settled_at"][149])
    found = incremental.unlearnt(home.settings, begin, NEXT, LATER)
    assert ids(found) == ids(home.first)[150:] + ids(home.second)


def test_an_alarm_leaves_out_what_was_settled_before_its_window(home: Home) -> None:
    begin = home.champion(consumed_to=home.first["settled_at"][149])
    since = float(home.second["settled_at"][9])
    found = incremental.unlearnt(home.settings, begin, NEXT, LATER, since)
    assert ids(found) == ids(home.second)[10:]
    earlier = incremental.unlearnt(home.settings, begin, NEXT, LATER, 1.0)
    assert earlier.height == 150, "learnt rows are not learnt twice"


def test_rows_that_may_still_land_wait(home: Home) -> None:
    begin = home.champion()
    now = float(home.first["settled_at"][99]) + incremental.LANDED_AFTER
    found = incremental.unlearnt(home.settings, begin, DAY, now)
    assert ids(found) == ids(home.first)[:100]


def test_a_prediction_without_a_label_settles_with_the_window(home: Home) -> None:
    for file in (Path(home.settings.landing) / "ads_labels").rglob("*.parquet"):
        file.unlink()
    begin = home.champion()
    end = NOON + 2 * 3_600
    rows, waiting = incremental.settled_rows(
        home.settings, [DAY], end + 49 + incremental.LANDED_AFTER
    )
    assert ids(rows) == ids(home.first)[:50] and set(rows["label"]) == {0}
    assert waiting == 200 - 50 - int(incremental.LANDED_AFTER), "those are settled, and may land"
    with pytest.raises(incremental.IncrementalError, match="training predictions are not clicked"):
        incremental.require_enough(incremental.unlearnt(home.settings, begin, DAY, LATER), 100)


def test_only_the_newest_rows_are_read(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental, "MOST_ROWS", 80)
    found = incremental.unlearnt(home.settings, home.champion(), NEXT, LATER)
    assert ids(found) == ids(home.second)[20:]


def test_too_few_rows_are_refused_with_both_numbers(home: Home) -> None:
    rows = incremental.unlearnt(home.settings, home.champion(), NEXT, LATER)
    incremental.require_enough(rows, 300)
    with pytest.raises(
        incremental.IncrementalError, match=r"300 labelled .* RECSYS_ADS_TUNE_ROWS is 301"
    ):
        incremental.require_enough(rows, 301)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1] * 70 + [0, 1] * 15, "all 70 training predictions are clicked"),
        ([0, 1] * 35 + [0] * 30, "all 30 held-out predictions are not clicked"),
    ],
)
def test_one_class_is_refused(home: Home, labels: list[int], message: str) -> None:
    rows = home.second.with_columns(label=pl.Series(labels))
    with pytest.raises(incremental.IncrementalError, match=message):
        incremental.require_enough(rows, 100)


def test_arrays_are_those_of_the_champions_workflow_in_the_order_of_settling(
    home: Home, tmp_path: Path
) -> None:
    begin = home.champion()
    rows = home.second.with_columns(
        C1=pl.Series(["aa", "bb", None, "new"] * 25), release=pl.Series([1] * 60 + [2] * 40)
    )
    target = tmp_path / "made"
    target.mkdir()
    metrics = incremental.write_feedback_rows(rows, begin.base.artifact, 1, target)
    cat, cont = AdsTransforms.from_dict(TRANSFORMS).of_frame(rows)
    for split, part in (("train", slice(70)), ("valid", slice(70, None))):
        arrays = [np.load(target / f"{split}_{name}.npy") for name in ("cat", "cont", "label")]
        assert [one.dtype for one in arrays] == [np.int32, np.float32, np.int8]
        assert np.array_equal(arrays[0], cat[part]) and np.array_equal(arrays[1], cont[part])
        assert arrays[2].tolist() == rows["label"][part].to_list()
    held_out = pl.read_parquet(target / "held_out.parquet")
    assert tuple(held_out.columns) == COLUMNS and held_out["label"].dtype == pl.Int8
    assert held_out["C1"].to_list() == rows["C1"][70:].to_list()
    consumed = float(rows["settled_at"][-1])
    assert json.loads((target / "consumed.json").read_text()) == {"consumed_to": consumed}
    assert metrics["consumed_to"] == consumed and metrics["by_release"] == {"1": 60, "2": 40}
    assert (metrics["rows"], metrics["train"], metrics["held_out"]) == (100, 70, 30)
    assert metrics["clicks"] == int(rows["label"].sum()) == round(metrics["click_rate"] * 100)


def test_the_digest_changes_with_a_label(home: Home) -> None:
    rows = home.second
    changed = rows.with_columns(label=pl.Series([1 - rows["label"][0], *rows["label"][1:]]))
    assert incremental.rows_digest(rows) == incremental.rows_digest(rows.clone())
    assert incremental.rows_digest(rows) != incremental.rows_digest(changed)
