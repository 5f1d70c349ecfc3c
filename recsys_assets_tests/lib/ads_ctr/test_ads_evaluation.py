"""The evaluation of the ads ranker: intervals that hold, baselines that learn, the oracle above."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys_assets.ads_columns import CATEGORIES
from recsys_assets.lib.ads_ctr import ads_baselines
from recsys_assets.lib.ads_ctr.ads_datasets import PackedAds
from recsys_assets.lib.ads_ctr.ads_evaluation import auc_estimate, write_evaluation
from recsys_assets.lib.evaluation.ranker_metrics import auc


def packed(generator: np.random.Generator, rows: int) -> tuple[PackedAds, np.ndarray]:
    """Return rows whose clicks depend on one category, one count and a pair; and the truth."""
    cat = generator.integers(3, 9, (rows, 26)).astype(np.int32)
    cont = generator.normal(0, 1, (rows, 13)).astype(np.float32)
    logit = -0.5 + 0.8 * (cat[:, 0] == 4) + 0.6 * cont[:, 0]
    logit += 1.2 * np.where((cat[:, 1] > 5) == (cat[:, 2] > 5), 1, -1)
    truth = 1 / (1 + np.exp(-logit))
    label = (generator.random(rows) < truth).astype(np.int8)
    return PackedAds(cat, cont, label), truth


@pytest.fixture(scope="module")
def splits() -> tuple[PackedAds, PackedAds, np.ndarray]:
    generator = np.random.default_rng(1)
    return packed(generator, 20_000)[0], *packed(generator, 5_000)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        # no sum over single features holds the pair
        ("logistic_regression", 0.3, 0.55),
        ("factorization_machine", 0.85, 1.0),
        ("boosted_trees", 0.6, 1.0),
    ],
)
def test_each_baseline_learns_what_its_form_can_hold(
    name: str, low: float, high: float, splits
) -> None:
    train, valid, truth = splits
    settings, fit = ads_baselines.BASELINES[name]
    scores = fit(train, settings[1])(valid)
    assert scores.shape == (5_000,) and ((scores > 0) & (scores < 1)).all()
    assert low < (auc(valid.label, scores) - 0.5) / (auc(valid.label, truth) - 0.5) < high


def test_a_value_that_was_not_trained_is_scored(splits) -> None:
    train, valid, _ = splits
    unseen = PackedAds(valid.cat[:5] + 100, valid.cont[:5], valid.label[:5])
    for settings, fit in ads_baselines.BASELINES.values():
        assert np.isfinite(fit(train.part(slice(2_000)), settings[0])(unseen)).all()


def test_the_best_setting_is_taken_by_the_last_rows(splits) -> None:
    train, valid, _ = splits

    def constant(rows: PackedAds, setting: float) -> ads_baselines.AdsScorer:
        return lambda some: np.full(len(some), setting)

    found = ads_baselines.tuned((0.05, float(train.label.mean()), 0.95), constant, train)
    assert found.setting == str(float(train.label.mean()))
    assert (found.score(valid) == float(train.label.mean())).all()


def test_the_interval_of_the_auc_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    true_auc, inside = 0.760, 0  # of N(0, 1) against N(1, 1): Φ(1 / √2)
    for _ in range(200):
        label = generator.random(400) < 0.3
        found = auc_estimate(label, generator.normal(label, 1))
        inside += found["low"] <= true_auc <= found["high"]
    assert 180 <= inside <= 199


def test_a_whole_evaluation(tmp_path: Path, splits, monkeypatch: pytest.MonkeyPatch) -> None:
    train, valid, truth = splits
    fit = ads_baselines.fit_logistic
    monkeypatch.setattr(
        "recsys_assets.lib.ads_ctr.ads_evaluation.BASELINES", {"lr": ((0.1, 1.0), fit)}
    )
    cardinality = dict.fromkeys(CATEGORIES, 20) | {"C2": 9}
    lines: list[str] = []
    found = write_evaluation(train, valid, truth**2, truth, cardinality, tmp_path, lines.append)
    assert list(found["systems"]) == ["dcn", "lr", "oracle"] and len(lines) == 1
    own, oracle = found["systems"]["dcn"], found["systems"]["oracle"]
    assert own["auc"] == oracle["auc"], "squares keep the order"
    assert own["calibration_error"] > 5 * oracle["calibration_error"], "and not the size"
    assert found["of_oracle_lift"] == 1.0
    assert found["above"]["lr"]["low"] > 0
    assert len(found["by_time"]) == 6 and min(found["by_time"]) > 0.6
    assert all(name.startswith("C2 index ") for name in found["by_segment"])
    assert sum(one["rows"] for one in found["by_segment"].values()) <= 5_000
    for name in ("calibration", "auc"):
        assert (tmp_path / f"figures/{name}.md").read_text().startswith("![")


def test_real_ads_have_no_oracle(tmp_path: Path, splits, monkeypatch: pytest.MonkeyPatch) -> None:
    train, valid, truth = splits
    monkeypatch.setattr("recsys_assets.lib.ads_ctr.ads_evaluation.BASELINES", {})
    cardinality = dict.fromkeys(CATEGORIES, 9)
    found = write_evaluation(train, valid, truth, None, cardinality, tmp_path, print)
    assert found["of_oracle_lift"] is None and list(found["systems"]) == ["dcn"]
