"""Test clustered estimates against scikit-learn, closed forms and a bootstrap by unit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from recsys_assets.lib.monitor.estimates import (
    Clustered,
    clustered_auc,
    clustered_ratio,
    difference,
    logarithm,
    pooled,
)


def visits(units: int, seed: int) -> tuple[np.ndarray, np.ndarray, pl.Series]:
    """Return labels, scores and units; each unit has rows that depend on each other."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 12, units)
    unit = np.repeat(np.arange(units), size)
    liked = rng.normal(size=units)[unit] + rng.normal(size=len(unit))
    labels = (liked > 0.5).astype(np.int8)
    scores = np.round(liked + rng.normal(0, 1.5, units)[unit], 1)  # with ties
    return labels, scores, pl.Series(unit).cast(pl.String)


def resampled(labels: np.ndarray, scores: np.ndarray, unit: pl.Series, seed: int) -> np.ndarray:
    """Return the rows of a bootstrap sample of the units."""
    rng = np.random.default_rng(seed)
    codes = unit.rank("dense").to_numpy().astype(int) - 1
    rows = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    drawn = rng.integers(len(rows), size=len(rows))
    return np.concatenate([rows[one] for one in drawn])


def test_auc_equals_scikit_learns_and_its_parts_add_up_to_0() -> None:
    labels, scores, unit = visits(200, 1)
    found = clustered_auc(labels, scores, unit)
    assert found.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert found.units == 200 and found.parts["part"].sum() == pytest.approx(0, abs=1e-12)


def test_the_error_is_that_of_a_bootstrap_by_unit_and_not_by_row() -> None:
    labels, scores, unit = visits(150, 2)
    found = clustered_auc(labels, scores, unit)
    again = []
    for seed in range(400):
        rows = resampled(labels, scores, unit, seed)
        again.append(roc_auc_score(labels[rows], scores[rows]))
    assert found.error == pytest.approx(np.std(again), rel=0.15)
    alone = clustered_auc(labels, scores, pl.int_range(len(labels), eager=True))
    assert alone.error < 0.9 * found.error


def test_a_ratio_has_the_error_of_a_bootstrap_by_unit() -> None:
    labels, scores, unit = visits(150, 3)
    predicted = 1 / (1 + np.exp(-scores))
    found = clustered_ratio(labels, predicted, unit)
    assert found.value == pytest.approx(labels.sum() / predicted.sum())
    again = []
    for seed in range(400):
        rows = resampled(labels, scores, unit, seed)
        again.append(labels[rows].sum() / predicted[rows].sum())
    assert found.error == pytest.approx(np.std(again), rel=0.15)
    assert logarithm(found).value == pytest.approx(np.log(found.value))
    assert logarithm(found).error == pytest.approx(np.std(np.log(again)), rel=0.15)


def test_a_mean_of_single_rows_has_the_textbook_error() -> None:
    values = np.random.default_rng(4).random(50)
    found = clustered_ratio(values, np.ones(50), pl.Series(range(50)))
    assert found.error == pytest.approx(values.std(ddof=1) / np.sqrt(50))
    low, high = found.bounds(2)
    assert (low + high) / 2 == pytest.approx(values.mean()) and high - low == 4 * found.error


def test_pooled_auc_is_the_share_of_ordered_pairs_within_the_days() -> None:
    days = [visits(60, seed) for seed in (5, 6)]
    parts = [clustered_auc(*day) for day in days]
    pairs = [float(labels.sum() * (1 - labels).sum()) for labels, _, _ in days]
    found = pooled(parts, pairs)
    ordered = sum(
        (above > below) + (above == below) / 2
        for labels, scores, _ in days
        for above in scores[labels == 1]
        for below in scores[labels == 0]
    )
    assert found.value == pytest.approx(ordered / sum(pairs), abs=1e-12)


def test_a_difference_of_days_with_the_same_units_knows_that_they_depend() -> None:
    parts = pl.DataFrame({"unit": ["a", "b", "c"], "part": [0.3, -0.1, -0.2]})
    one, moved = Clustered(0.7, parts), Clustered(0.6, parts)
    same = difference(one, moved)
    assert same.value == pytest.approx(0.1) and same.error == 0
    others = parts.with_columns(pl.concat_str(pl.lit("x"), "unit").alias("unit"))
    apart = difference(one, Clustered(0.6, others))
    assert apart.units == 6
    assert apart.error == pytest.approx(np.sqrt(2 * 0.14 * 6 / 5))


def test_one_unit_has_no_finite_error() -> None:
    assert clustered_ratio(np.ones(3), np.ones(3), pl.Series(["a"] * 3)).error == float("inf")


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="add up to more than 0"):
        clustered_ratio(np.ones(2), np.zeros(2), pl.Series([1, 2]))
    with pytest.raises(ValueError, match="weights must add up to more than 0"):
        pooled([], [])
    with pytest.raises(ValueError, match="clicked and unclicked"):
        clustered_auc(np.ones(2), np.ones(2), pl.Series([1, 2]))
    with pytest.raises(ValueError, match="above 0, got 0"):
        logarithm(clustered_ratio(np.zeros(2), np.ones(2), pl.Series([1, 2])))
