"""The verdict of the ads ranker: what blocks, what warns, and what a champion changes."""

from __future__ import annotations

from typing import Any

import pytest

from recsys_assets.lib.gates import ads
from recsys_assets.lib.release.verdict import Verdict

METRICS: dict[str, Any] = {
    "auc": 0.75,
    "validation_clicks": 2_500,
    "validation_rows": 10_000,
    "onnx_difference": 1e-8,
}
FIGURES: dict[str, Any] = {
    "auc": 0.75,
    "log_loss": 0.5,
    "log_loss_of_mean": 0.56,
    "calibration_error": 0.01,
    "click_rate": 0.25,
    "rows": 10_000,
}
BETTER = {"value": 0.01, "low": 0.005, "high": 0.015}
WORSE = {"value": -0.02, "low": -0.03, "high": -0.01}


def judged(
    metrics: dict[str, Any] = METRICS,
    figures: dict[str, Any] = FIGURES,
    above: dict[str, Any] | None = None,
    differences: int = 0,
    champion: dict[str, float] | None = None,
) -> Verdict:
    evaluation = {"systems": {"dcn": figures}, "above": above or {"fm": BETTER}}
    return ads.ads_release(metrics, evaluation, differences, champion)


def failed(verdict: Verdict) -> list[str]:
    return [one["name"].split(":")[0] for one in verdict["checks"] if not one["passed"]]


def test_a_good_first_release_passes_every_group() -> None:
    verdict = judged()
    assert verdict["passed"] and failed(verdict) == []
    groups = ads.by_ads_group(verdict)
    assert set(groups) == set(ads.ADS_GROUPS)
    assert groups["champion"][0]["value"] == "there is none to compare with"


@pytest.mark.parametrize(
    ("given", "group"),
    [
        ({"metrics": {**METRICS, "auc": 0.501}}, "auc"),
        ({"figures": {**FIGURES, "calibration_error": 0.08}}, "calibration"),
        ({"above": {"fm": WORSE}}, "baselines"),
    ],
)
def test_what_is_unusual_warns(given: dict[str, Any], group: str) -> None:
    verdict = judged(**given)
    assert verdict["passed"] and failed(verdict) == [group]


@pytest.mark.parametrize(
    ("given", "group"),
    [
        ({"metrics": {**METRICS, "auc": None}}, "auc"),
        ({"metrics": {**METRICS, "onnx_difference": 1e-3}}, "exports"),
        ({"metrics": {**METRICS, "onnx_difference": float("nan")}}, "exports"),
        ({"differences": 1}, "exports"),
        ({"champion": WORSE}, "champion"),
    ],
)
def test_what_is_wrong_or_worse_than_the_champion_blocks(given: dict[str, Any], group: str) -> None:
    verdict = judged(**given)
    assert not verdict["passed"] and failed(verdict) == [group]


def test_a_loss_within_the_tolerance_or_chance_passes() -> None:
    within = {"value": -0.003, "low": -0.004, "high": -0.002}
    unsure = {"value": -0.02, "low": -0.05, "high": 0.01}
    assert judged(champion=within)["passed"] and judged(champion=unsure)["passed"]


def test_the_calibration_of_few_rows_is_not_judged() -> None:
    few = {**FIGURES, "rows": 150, "calibration_error": 0.2}
    assert failed(judged(figures=few)) == []


def test_an_incremental_training_needs_a_champion_and_no_baseline() -> None:
    passed = ads.ads_tuned(METRICS, FIGURES, BETTER)
    assert passed["passed"] and set(ads.by_ads_group(passed)) == set(ads.ADS_TUNED_GROUPS)
    alone = ads.ads_tuned(METRICS, FIGURES, None)
    assert not alone["passed"] and failed(alone) == ["champion"]
