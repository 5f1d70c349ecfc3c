"""Tells what scores without signal reach by chance, so that small shops are not misjudged."""

from __future__ import annotations

import math

#: 95 % quantile of the normal distribution: one of 20 cases without signal is above the bound.
_NORMAL = 1.644854


def chance_auc(clicked: int, unclicked: int) -> float:
    """Return the AUC that scores without signal exceed in one of 20 cases.

    Their AUC is normal around 0.5, with the variance (n₁ + n₀ + 1) / (12 n₁ n₀) of the rank-sum
    statistic (Mann and Whitney 1947). It is 1 where a class has no row.

    >>> round(chance_auc(3_000, 7_000), 3), round(chance_auc(20, 100), 3)
    (0.51, 0.617)
    """
    if not clicked or not unclicked:
        return 1.0
    error = math.sqrt((clicked + unclicked + 1) / (12 * clicked * unclicked))
    return min(1.0, 0.5 + _NORMAL * error)


def chance_recall(share: float, clicks: int) -> float:
    """Return the recall that random lists exceed in one of 20 cases.

    It is the normal bound of a binomial share; 1 where there is no click.

    Args:
        share: of the catalogue that a list holds, 0 to 1.
        clicks: that are judged.

    >>> round(chance_recall(0.1, 100), 3), chance_recall(1.0, 5)
    (0.149, 1.0)
    """
    if not clicks:
        return 1.0
    return min(1.0, share + _NORMAL * math.sqrt(share * (1 - share) / clicks))
