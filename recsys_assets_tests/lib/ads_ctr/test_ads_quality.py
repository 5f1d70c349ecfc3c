"""The quality of a day's labelled predictions, per release."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.ads_ctr import ads_quality
from recsys_assets.lib.ads_ctr.ads_quality import Promotion
from recsys_assets.lib.ads_ctr.ads_watch import WatchRules
from recsys_assets.lib.evaluation.ranker_metrics import auc, log_loss
from recsys_assets.settings import Settings
from recsys_assets_tests.support.small_ads_feedback import (
    BAD,
    predictions,
    serve_ads,
    write_ads_release,
)

RULES = {number: WatchRules(0.7, 500, 250, 600) for number in (1, 2)}


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Return a good release, its fall after 700 rows, and another one from row 1,201 on."""
    return pl.concat(
        [
            predictions(700, 0.0),
            predictions(500, 700.0, shift=BAD, seed=2),
            predictions(300, 1_200.0, seed=3, release=2),
        ]
    )


def test_each_release_has_its_figures_and_alarms(rows: pl.DataFrame, tmp_path: Path) -> None:
    changes = [Promotion(-5.0, "promote 1"), Promotion(1_204.5, "promote 2")]
    found = ads_quality.write_quality(rows, 7, RULES, changes, tmp_path)
    assert (found["labelled"], found["waiting"], found["promotions"]) == (1_500, 7, 1)
    first, second = found["releases"]["1"], found["releases"]["2"]
    part = rows[:1_200]
    labels, scores = part["label"].to_numpy(), part["score"].to_numpy()
    assert first["auc"] is not None
    assert first["auc"]["value"] == pytest.approx(auc(labels, scores))
    assert first["auc"]["low"] < first["auc"]["value"] < first["auc"]["high"]
    assert first["log_loss"] == pytest.approx(log_loss(labels, scores))
    assert first["click_rate"] == pytest.approx(labels.mean()) and first["labelled"] == 1_200
    assert first["alarms"][0].startswith("rolling AUC: 0.6") and first["threshold"] == 0.7
    assert first["lowest_rolling_auc"] is not None and first["lowest_rolling_auc"] < 0.6
    assert second["alarms"] == [] and second["labelled"] == 300
    assert found["alarms"] == len(first["alarms"])


def test_the_figure_has_alarms_and_promotions(rows: pl.DataFrame, tmp_path: Path) -> None:
    ads_quality.write_quality(rows, 0, RULES, [Promotion(1_204.5, "promote 2")], tmp_path)
    assert (tmp_path / "figures/rolling_auc.md").read_text().startswith("![Rolling AUC")
    table = (tmp_path / "figures/releases.md").read_text().splitlines()
    assert [line.split("|")[1:3] for line in table[2:]] == [[" 1 ", " 1,200 "], [" 2 ", " 300 "]]


def test_a_promotion_is_marked_at_the_first_row_after_it(rows: pl.DataFrame) -> None:
    # row n of the first ones is settled at n + 4 seconds
    found = ads_quality._within(rows, [Promotion(14.5, "promote 2"), Promotion(9_999.0, "late")])
    assert found == [(11, "promote 2")]


@pytest.mark.parametrize("kept", [0, 40])
def test_few_rows_have_a_table_and_no_figure(rows: pl.DataFrame, tmp_path: Path, kept: int) -> None:
    found = ads_quality.write_quality(rows[:kept], 3, RULES, [], tmp_path)
    assert found["labelled"] == kept and found["alarms"] == 0
    assert [path.name for path in tmp_path.rglob("*.md")] == ["releases.md"]


def test_one_class_has_no_auc(rows: pl.DataFrame, tmp_path: Path) -> None:
    none = rows[:300].with_columns(label=pl.lit(0))
    one = ads_quality.write_quality(none, 0, RULES, [], tmp_path)["releases"]["1"]
    assert (one["auc"], one["log_loss"], one["lowest_rolling_auc"]) == (None, None, None)


def test_rules_are_those_of_each_release_and_a_deleted_one_has_none(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    store = ArtifactStore(settings.artifacts)
    write_ads_release(store, 1, "2026-03-10")
    found = ads_quality.rules_of(store, settings, [1, 5])
    assert found[1] == WatchRules.of(settings, 0.85, 0.25) and found[1].threshold
    assert found[5].threshold is None and "has no AUC" in found[5].reason


def test_promotions_are_those_of_the_champions_history(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert ads_quality.promotions(settings) == []
    serve_ads(settings, [(1, 10), (3, 20)])
    assert ads_quality.promotions(settings) == [
        Promotion(10.0, "promote 1"),
        Promotion(20.0, "promote 3"),
    ]
