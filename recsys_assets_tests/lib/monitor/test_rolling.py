"""Test which windows are compared with which reference, and when that is drift."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys_assets.lib.monitor.estimates import clustered_auc, clustered_ratio
from recsys_assets.lib.monitor.rolling import Judged, Minimum, Stratum, Tolerance, judge

DAYS = [f"2026-03-{day:02d}" for day in range(1, 32)]
MINIMUM = Minimum(rows=400, positives=50, units=30, days=3, reference_days=2)
FALL = Tolerance(0.02)


def stratum(
    day: int, release: int = 1, family: int = 1, rows: int = 3_000, better: float = 1.0
) -> Stratum:
    """Return a day whose scores tell clicked rows by ``better`` standard deviations."""
    rng = np.random.default_rng([day, release, rows])
    labels = (rng.random(rows) < 0.3).astype(np.int8)
    scores = better * labels + rng.normal(size=rows)
    unit = pl.Series(rng.integers(600, size=rows)).cast(pl.String)
    found = {"auc": (clustered_auc(labels, scores, unit), float(labels.sum()))}
    return Stratum(DAYS[day], release, family, rows, int(labels.sum()), found)


def judged(*strata: Stratum, minimum: Minimum = MINIMUM, tolerance: Tolerance = FALL) -> Judged:
    return judge(strata, "auc", minimum, tolerance)


def test_a_steady_service_does_not_drift_and_a_worse_one_does_on_its_first_day() -> None:
    days = [stratum(day) for day in range(10)]
    fine = judged(*days)
    assert fine.drifted is False and fine.days == (DAYS[9],)
    assert fine.reference_days == (DAYS[0], DAYS[1])
    worse = judged(*days, stratum(10, better=0.5))
    assert worse.drifted is True and "surely beyond 0.02" in worse.reason
    assert worse.change is not None and worse.change.value < -0.1


def test_a_fall_within_the_tolerance_is_no_drift_however_sure() -> None:
    days = [stratum(day, rows=60_000) for day in range(4)]
    found = judged(*days, stratum(4, rows=60_000, better=0.95))
    assert found.change is not None and found.change.bounds(3.09)[1] < 0
    assert found.drifted is False


def test_a_rise_is_drift_only_where_both_sides_are() -> None:
    days = [*(stratum(day) for day in range(4)), stratum(4, better=2)]
    assert judged(*days).drifted is False
    assert judged(*days, tolerance=Tolerance(0.02, both=True)).drifted is True


def test_small_days_are_judged_together_and_too_small_ones_not_at_all() -> None:
    days = [stratum(day, rows=200) for day in range(9)]
    found = judged(*days)
    assert found.days == (DAYS[7], DAYS[8]) and found.drifted is False
    none = judged(*(stratum(day, rows=100) for day in range(9)))
    assert none.drifted is None and none.reason == "too few to judge: 300 of 400 rows"
    # the reference grows until it is enough
    assert none.reference_days == tuple(DAYS[:4])


def test_too_few_positives_negatives_and_units_are_named() -> None:
    ones = np.ones(500, np.int8)
    ones[:10] = 0
    unit = pl.Series(range(500)).cast(pl.String)
    one = Stratum(DAYS[0], 1, 1, 500, 490, {"auc": (clustered_auc(ones, ones * 1.0, unit), 1.0)})
    assert MINIMUM.lacks([one], "auc") == "10 of 50 negatives"
    few = Stratum(DAYS[0], 1, 1, 500, 10, {"auc": (clustered_auc(1 - ones, ones * 1.0, unit), 1.0)})
    assert MINIMUM.lacks([few], "auc") == "10 of 50 positives"
    half = np.arange(500) % 2
    same = clustered_auc(half, half * 1.0, pl.Series(range(500)).cast(pl.String).str.slice(0, 1))
    crowd = Stratum(DAYS[0], 1, 1, 500, 250, {"auc": (same, 1.0)})
    assert MINIMUM.lacks([crowd], "auc") == "10 of 30 units"
    assert MINIMUM.lacks([crowd], "ndcg") == "no value"


def test_a_new_family_is_compared_with_itself_and_a_fine_tune_with_its_family() -> None:
    old = [stratum(day, better=2) for day in range(5)]
    new = [stratum(day, release=7, family=7) for day in range(5, 7)]
    early = judged(*old, *new)
    assert early.drifted is None and early.reason == "no day after the reference"
    tuned = stratum(7, release=8, family=7)
    found = judged(*old, *new, tuned)
    assert found.drifted is False and found.reference_days == (DAYS[5], DAYS[6])
    assert judged(*old, *new, stratum(7, release=8, family=7, better=0.3)).drifted is True


def test_a_reference_that_is_not_complete_judges_nothing() -> None:
    found = judged(stratum(0))
    assert found.drifted is None and "reference of 2 days is not complete" in found.reason
    assert judged().reason == "no release has answered"


def test_a_floor_needs_no_reference_but_enough_rows() -> None:
    floor = Tolerance(0.02, floor=0.7)
    assert judged(stratum(0, better=0.2), tolerance=floor).drifted is True
    assert judged(stratum(0, better=2), tolerance=floor).drifted is None
    assert judged(stratum(0, better=0.2, rows=200), tolerance=floor).drifted is None
    # an interval that reaches the floor is not surely below
    near = stratum(0, better=0.7)
    value, _ = near.estimates["auc"]
    assert 0.66 < value.value < 0.72
    assert judged(near, tolerance=Tolerance(0.02, floor=value.value + 0.01)).drifted is None


def test_a_ratio_is_compared_by_its_logarithm() -> None:
    def day(number: int, factor: float) -> Stratum:
        rng = np.random.default_rng(number)
        predicted = rng.random(3_000) * 0.4
        clicks = (rng.random(3_000) < predicted * factor).astype(np.int8)
        unit = pl.Series(rng.integers(600, size=3_000)).cast(pl.String)
        one = clustered_ratio(clicks, predicted, unit)
        return Stratum(
            DAYS[number], 1, 1, 3_000, int(clicks.sum()), {"ratio": (one, predicted.sum())}
        )

    both = Tolerance(float(np.log(1.25)), both=True, ratio=True)
    steady = [day(number, 1) for number in range(5)]
    assert judge(steady, "ratio", MINIMUM, both).drifted is False
    for factor in (0.5, 2.0):
        found = judge([*steady, day(5, factor)], "ratio", MINIMUM, both)
        assert found.drifted is True and found.change is not None
        assert found.change.value == pytest.approx(np.log(factor), abs=0.15)
