"""Drift of a day of ads: what moved is named, and chance is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.ads_ctr import ads_drift
from recsys_assets.lib.ads_ctr.ads_drift import against_days
from recsys_assets.lib.ads_ctr.ads_truth import AdsDrift, AdsTruth
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day
from recsys_assets.lib.quality.drift import jensen_shannon
from recsys_assets_tests.support.small_ads import TRUTH, publish_day

Publish = Callable[[str, pl.DataFrame], Artifact]


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    store = ArtifactStore(tmp_path / "artifacts")
    return lambda day, rows: publish_day(store, day, rows)


def test_a_broken_input_is_named_and_nothing_else(publish: Publish) -> None:
    before = [publish(f"2026-03-0{n + 2}", simulate_day(TRUTH, n, 4_000).rows) for n in range(2)]
    broken = simulate_day(AdsTruth(7, AdsDrift("broken")), 2, 4_000).rows
    moved = against_days(publish("2026-03-04", broken), before, 0.06)
    assert set(moved.drifted) == {"I1", "C1"} and moved.days == ("2026-03-02", "2026-03-03")
    # the most frequent values are gone, and all others count together
    assert moved.features["C1"].divergence > 0.25
    assert "I1" in moved.figure()


def test_another_truth_with_the_same_input_is_no_drift_of_the_input(publish: Publish) -> None:
    before = [publish("2026-03-02", simulate_day(TRUTH, 0, 4_000).rows)]
    changed = simulate_day(AdsTruth(7, AdsDrift("abrupt")), 1, 4_000).rows
    assert against_days(publish("2026-03-03", changed), before, 0.06).drifted == []


@pytest.mark.parametrize("rows", [ads_drift.LEAST_ROWS, 5_000])
def test_chance_is_no_drift(publish: Publish, rows: int) -> None:
    before = [publish("2026-03-02", simulate_day(TRUTH, 0, rows).rows)]
    for number in range(1, 11):
        day = publish("2026-03-03", simulate_day(TRUTH, number, rows).rows)
        moved = against_days(day, before, 1e-9)  # chance alone decides
        assert len(moved.features) == 39 and moved.drifted == [], number


def test_a_small_day_is_not_compared(publish: Publish) -> None:
    few = ads_drift.LEAST_ROWS - 1
    small, large = (
        publish(day, simulate_day(TRUTH, 0, rows).rows)
        for day, rows in (("2026-03-02", few), ("2026-03-03", 4_000))
    )
    for one, other in ((small, large), (large, small)):
        moved = against_days(one, [other], 0.06)
        assert moved.features == {} and "fewer than" in moved.reason


def test_the_divergence_of_a_feature_by_hand(publish: Publish) -> None:
    rows = simulate_day(TRUTH, 0, 1_000).rows
    half = np.arange(1_000) < 500
    then = rows.with_columns(C6=pl.lit("a"))
    now = rows.with_columns(C6=pl.when(pl.Series(half)).then(pl.lit("a")).otherwise(pl.lit("b")))
    moved = against_days(publish("2026-03-03", now), [publish("2026-03-02", then)], 0.06)
    assert moved.features["C6"].divergence == jensen_shannon([500, 500], [1_000, 0])
    assert moved.drifted == ["C6"]


def test_nothing_to_compare_with_is_no_drift(publish: Publish) -> None:
    rows = simulate_day(TRUTH, 0, 1_000).rows
    day, empty = publish("2026-03-03", rows), publish("2026-03-02", rows[:0])
    for one, before in ((day, []), (day, [empty]), (empty, [day])):
        moved = against_days(one, before, 0.06)
        assert moved.features == {} and moved.drifted == []
