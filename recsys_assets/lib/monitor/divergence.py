"""Bound the Jensen-Shannon divergence that chance gives at a size.

For samples of n and m independent rows from one distribution over K values, 8 ln 2 · D / (1/n +
1/m) has, to second order, the chi-square distribution with K − 1 degrees of freedom: D is half the
sum over the values of (p̂ − q̂)² / p, divided by 4 ln 2, and p̂ − q̂ has variance p (1 − p) (1/n +
1/m). Rows of one unit (a visitor) depend on each other, so a design effect divides the number of
rows (Rao and Scott 1984, "On chi-squared tests for multiway contingency tables with cell
proportions estimated from survey data", Annals of Statistics 12(1), their first-order correction).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import chi2


def largest_by_chance(values: int, rows: float, baseline_rows: float, share: float) -> float:
    """Return the divergence in bits that chance exceeds with this probability, at most 1.

    Args:
        values: K, the number of values with a row on either side.
        rows: n, independent rows of one side.
        baseline_rows: m, of the other.
        share: probability, between 0 and 1.

    Raises:
        ValueError: a size is not positive, or the probability is not between 0 and 1.

    >>> round(largest_by_chance(2, 1_000, 1_000, 0.05), 5)
    0.00139
    """
    if not (values >= 1 and rows > 0 and baseline_rows > 0 and 0 < share < 1):
        raise ValueError(
            "give at least one value, numbers of rows above 0 and a probability between 0 and 1; "
            f"got {values}, {rows}, {baseline_rows} and {share}"
        )
    if values == 1:
        return 0.0
    spread = (1 / rows + 1 / baseline_rows) / (8 * math.log(2))
    return min(1.0, spread * float(chi2.isf(share, values - 1)))


def design_effect(codes: np.ndarray, units: np.ndarray) -> float:
    """Return how many rows count as one independent row, at least 1.

    It is the mean over the values of the variance of a value's share with rows clustered by unit,
    over its variance with independent rows, weighted by 1 − p.

    Args:
        codes: int [N], the value of each row, from 0.
        units: int [N], the unit of each row, from 0.

    Raises:
        ValueError: there is no row, or lengths differ.

    >>> design_effect(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3]))
    1.0
    """
    rows = len(codes)
    if not rows or rows != len(units):
        raise ValueError(f"give one unit per row, at least one; got {rows} and {len(units)}")
    present, codes = np.unique(codes, return_inverse=True)
    shares = np.bincount(codes) / rows
    if len(present) == 1:
        return 1.0
    # the residual of a unit for value k: its rows of k − p_k · its rows
    pairs, counts = np.unique(
        np.stack([np.asarray(units, np.int64), codes.astype(np.int64)]), axis=1, return_counts=True
    )
    sizes = np.bincount(np.unique(units, return_inverse=True)[1]).astype(np.float64)
    size_of = np.bincount(np.asarray(units, np.int64)).astype(np.float64)
    value, own = pairs[1], size_of[pairs[0]]
    # sum over units of (c − p s)²: pairs that are present, and (p s)² of those that are not
    squares = (
        np.bincount(
            value,
            (counts - shares[value] * own) ** 2 - (shares[value] * own) ** 2,
            minlength=len(shares),
        )
        + shares**2 * (sizes**2).sum()
    )
    variance = squares / rows**2
    independent = shares * (1 - shares) / rows
    weights = 1 - shares
    return max(1.0, float((weights * variance / independent).sum() / weights.sum()))
