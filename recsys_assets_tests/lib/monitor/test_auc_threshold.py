"""Test the threshold against closed forms, DeLong's error and streams without a change."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from recsys_assets.lib.evaluation.paired_auc import auc_parts
from recsys_assets.lib.monitor.auc_threshold import auc_variance, chance_below, suggested_threshold
from recsys_assets.lib.monitor.rolling_auc import rolling_aucs


def drawn(rows: int, auc: float, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and normal scores of an AUC."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < rate).astype(np.int8)
    return labels, rng.normal(size=rows) + labels * norm.ppf(auc) * np.sqrt(2)


def test_the_variance_at_one_half_is_that_of_ranks() -> None:
    assert auc_variance(0.5, 40, 60) == pytest.approx(101 / (12 * 40 * 60))
    assert auc_variance(0.8, 1, 1) == pytest.approx(0.8 * 0.2)
    # the example of the paper has an error of 0.032 for exponential scores
    assert auc_variance(0.893, 51, 58) ** 0.5 == pytest.approx(0.032, rel=0.1)


@pytest.mark.parametrize(("auc", "rate"), [(0.75, 0.25), (0.7, 0.5), (0.85, 0.8)])
def test_the_deviation_is_that_of_delong_and_of_resamples(auc: float, rate: float) -> None:
    labels, scores = drawn(50_000, auc, rate, 1)
    delong = np.sqrt((auc_parts(labels, scores) ** 2).sum() * 50_000 / 500)
    assert auc_variance(auc, 500 * rate, 500 * (1 - rate)) ** 0.5 == pytest.approx(delong, rel=0.03)
    resampled = [roc_auc_score(*drawn(500, auc, rate, seed)) for seed in range(600)]
    assert np.std(resampled) == pytest.approx(delong, rel=0.08)


def test_the_level_of_the_default_is_4_6_deviations() -> None:
    threshold = suggested_threshold(0.75, 0.25)
    assert threshold == pytest.approx(0.6173, abs=1e-4)
    deviation = auc_variance(threshold, 125, 375) ** 0.5
    assert (0.75 - threshold) / deviation == pytest.approx(4.61, abs=0.01)
    assert chance_below(threshold, 0.75, 0.25) == pytest.approx(0.01)


@pytest.mark.parametrize(("auc", "rate", "window"), [(0.75, 0.25, 500), (0.8, 0.4, 200)])
def test_an_unchanged_stream_falls_below_no_more_often_than_asked(
    auc: float, rate: float, window: int
) -> None:
    """At a chance of 20 % few streams suffice; the module states those of 1 %."""
    streams, rows = 40, 20_000
    threshold = suggested_threshold(auc, rate, window, window // 2, rows, 0.2)
    lowest = [
        np.nanmin(rolling_aucs(scores, labels, window, window // 2))
        for labels, scores in (drawn(rows, auc, rate, seed) for seed in range(streams))
    ]
    assert np.mean(np.array(lowest) < threshold) <= 0.2
    # and no lower than needed: within one deviation of the lowest of all
    assert min(lowest) - threshold < auc_variance(auc, window * rate, window * (1 - rate)) ** 0.5


def test_a_longer_window_and_a_shorter_stream_move_the_threshold_up() -> None:
    base = suggested_threshold(0.75, 0.25)
    assert suggested_threshold(0.75, 0.25, window=2_000, minimum=1_000) > base
    assert suggested_threshold(0.75, 0.25, predictions=10_000) > base
    assert suggested_threshold(0.75, 0.25, chance=0.1) > base > suggested_threshold(0.75, 0.1)
    # an early minimum has a wide spread, which counts
    assert suggested_threshold(0.75, 0.25, minimum=100) < base


def test_a_window_that_is_too_short_is_refused_with_one_that_suffices() -> None:
    for auc, rate in ((0.75, 0.05), (0.6, 0.25), (0.501, 0.5)):
        with pytest.raises(ValueError, match="cannot tell") as refused:
            suggested_threshold(auc, rate)
        said = re.search(r"window=(\d+) and minimum=(\d+)", str(refused.value))
        assert said is not None
        window, minimum = int(said[1]), int(said[2])
        if window < 20_000:
            assert suggested_threshold(auc, rate, window, minimum) > 0.5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"auc": 0.5}, "auc must be above 0.5"),
        ({"auc": 1.0}, "auc must be above 0.5 and below 1"),
        ({"positive_rate": 0.0}, "positive_rate must be between 0 and 1"),
        ({"positive_rate": 0.01}, "minimum must be at least 1000 at a positive rate of 0.01"),
        ({"window": 200}, "window must be a whole number of at least 250"),
        ({"predictions": 0}, "predictions must be a whole number"),
        ({"chance": 1.0}, "chance must be a probability"),
    ],
)
def test_wrong_arguments_are_refused_by_name(given: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        suggested_threshold(**{"auc": 0.75, "positive_rate": 0.25, **given})  # type: ignore[arg-type]


def test_a_chance_needs_a_threshold_below_the_auc() -> None:
    with pytest.raises(ValueError, match="below the AUC of the model"):
        chance_below(0.75, 0.75, 0.25)
    with pytest.raises(ValueError, match="at least one positive"):
        auc_variance(0.75, 0, 10)
