"""Test the limits of chance against simulations."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.lib.monitor.divergence import design_effect, largest_by_chance
from recsys_assets.lib.quality.drift import jensen_shannon


@pytest.mark.parametrize("values", [2, 6, 31])
@pytest.mark.parametrize(("rows", "baseline"), [(2_000, 2_000), (1_000, 20_000)])
def test_independent_samples_exceed_the_limit_as_often_as_asked(
    values: int, rows: int, baseline: int
) -> None:
    rng = np.random.default_rng(values * rows)
    p = rng.dirichlet(np.full(values, 5.0))
    found = np.array(
        [
            jensen_shannon(rng.multinomial(rows, p), rng.multinomial(baseline, p))
            for _ in range(12_000)
        ]
    )
    for share in (0.1, 0.01):
        beyond = (found > largest_by_chance(values, rows, baseline, share)).mean()
        assert beyond == pytest.approx(share, rel=0.35)


def clustered(rng: np.random.Generator, units: int, p: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return values and units; a unit repeats its own value with probability 0.6."""
    unit = np.repeat(np.arange(units), rng.integers(4, 17, units))
    own = rng.choice(len(p), units, p=p)[unit]
    fresh = rng.choice(len(p), len(unit), p=p)
    return np.where(rng.random(len(unit)) < 0.6, own, fresh), unit


def test_clustered_rows_keep_to_the_limit_only_with_their_design_effect() -> None:
    rng, p = np.random.default_rng(7), np.array([0.4, 0.3, 0.2, 0.1])
    beyond, naive = 0, 0
    trials = 600
    for _ in range(trials):
        (one, units), (other, others) = clustered(rng, 150, p), clustered(rng, 150, p)
        counts = np.bincount(one, minlength=4), np.bincount(other, minlength=4)
        effects = design_effect(one, units), design_effect(other, others)
        value = jensen_shannon(*counts)
        beyond += value > largest_by_chance(4, len(one) / effects[0], len(other) / effects[1], 0.05)
        naive += value > largest_by_chance(4, len(one), len(other), 0.05)
    assert 0.025 < beyond / trials < 0.085
    assert naive / trials > 0.3


def test_the_design_effect_is_the_brute_force_one() -> None:
    rng = np.random.default_rng(8)
    codes, units = clustered(rng, 40, np.array([0.5, 0.3, 0.2]))
    shares = np.bincount(codes) / len(codes)
    top = bottom = 0.0
    for value, share in enumerate(shares):
        squares = sum(
            ((codes[units == unit] == value).sum() - share * (units == unit).sum()) ** 2
            for unit in np.unique(units)
        )
        ratio = squares / len(codes) ** 2 / (share * (1 - share) / len(codes))
        top, bottom = top + (1 - share) * ratio, bottom + (1 - share)
    assert design_effect(codes, units) == pytest.approx(top / bottom)
    assert design_effect(codes, units * 10 + 3) == pytest.approx(top / bottom)  # any numbers


def test_rows_of_their_own_and_one_value_count_fully() -> None:
    rng = np.random.default_rng(9)
    codes = rng.integers(0, 5, 20_000)
    assert design_effect(codes, np.arange(20_000)) == pytest.approx(1, abs=1e-6)
    assert design_effect(np.full(5, 2), np.zeros(5, int)) == 1
    assert largest_by_chance(1, 5, 5, 0.1) == 0


def test_wrong_input_is_refused() -> None:
    for given in ((0, 1, 1, 0.1), (2, 0, 1, 0.1), (2, 1, 1, 0), (2, 1, 1, 1)):
        with pytest.raises(ValueError, match="give at least one value"):
            largest_by_chance(*given)
    with pytest.raises(ValueError, match="one unit per row"):
        design_effect(np.array([1, 2]), np.array([1]))
