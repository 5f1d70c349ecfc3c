"""The truth of simulated ads: what changes at which time, and what an old model then is worth."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.lib.ads_ctr.ads_features import features
from recsys_assets.lib.ads_ctr.ads_truth import RATE, AdsDrift, AdsTruth, DriftKind
from recsys_assets.lib.evaluation.ranker_metrics import auc

ROWS = 20_000
OLD = AdsTruth(3)


def judged(kind: DriftKind, day: float) -> tuple[float, float, float]:
    """Return click rate, AUC of the truth and AUC of the truth before the change, on a day."""
    generator = np.random.default_rng(1)
    counts, values = features(generator, ROWS)
    truth = AdsTruth(3, AdsDrift(kind, at=2.0, lasts=2.0))
    probability = truth.probability(counts, values, np.full(ROWS, day))
    clicked = generator.random(ROWS) < probability
    before = OLD.probability(counts, values, np.zeros(ROWS))
    return float(clicked.mean()), auc(clicked, probability), auc(clicked, before)


@pytest.mark.parametrize("kind", ["none", "abrupt", "slow", "broken"])
def test_before_its_time_nothing_changes(kind: DriftKind) -> None:
    rate, oracle, old = judged(kind, 1.9)
    assert rate == pytest.approx(RATE, abs=0.02)
    assert oracle == old and 0.78 < oracle < 0.84


def test_an_abrupt_change_makes_the_old_truth_worthless_and_keeps_the_rate() -> None:
    rate, oracle, old = judged("abrupt", 2.0)
    assert rate == pytest.approx(RATE, abs=0.02)
    assert oracle > 0.78 and old == pytest.approx(0.5, abs=0.06)


def test_a_slow_change_comes_by_degrees() -> None:
    olds = [judged("slow", day)[2] for day in (2.0, 2.5, 3.0, 3.5, 4.0)]
    assert olds == sorted(olds, reverse=True)
    assert olds[0] > 0.78 and olds[-1] == pytest.approx(0.5, abs=0.06)


def test_a_season_comes_back() -> None:
    quarter, whole = judged("seasonal", 2.25), judged("seasonal", 3.0)
    assert quarter[1] - quarter[2] > 0.04, "at its height, the old truth is worse"
    assert whole[2] == pytest.approx(whole[1], abs=1e-9)


def test_equal_seeds_give_equal_truths_and_others_do_not() -> None:
    counts, values = features(np.random.default_rng(1), 50)
    days = np.zeros(50)
    first, again = (AdsTruth(3).probability(counts, values, days) for _ in range(2))
    assert (first == again).all()
    assert (first != AdsTruth(4).probability(counts, values, days)).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "sudden"}, "drift must be one of none, abrupt"),
        ({"at": -1.0}, "begins at 0 days or later"),
        ({"lasts": 0.0}, "lasts more than 0"),
    ],
)
def test_a_wrong_drift_is_refused(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdsDrift(**given)
