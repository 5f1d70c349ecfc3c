"""Estimate AUC, means and ratios with an error clustered by unit, such as a visitor.

Rows of one unit depend on each other, so the parts of a unit are summed before their variance is
taken. An estimate keeps the part of each unit. So estimates of several days can be pooled and
compared although they share units: a unit's parts are then added up, whatever their days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.evaluation.paired_auc import auc_parts
from recsys_assets.lib.evaluation.ranker_metrics import auc

UNIT, PART = "unit", "part"
_NORMAL = 1.959964  # 97.5 % quantile


@dataclass(frozen=True)
class Clustered:
    """Holds an estimate and what each unit adds to its error.

    Attributes:
        value: the estimate.
        parts: {unit, part}, U rows, one per unit. A part is the unit's influence on the value, to
            first order; the parts of an estimate add up to 0.
    """

    value: float
    parts: pl.DataFrame

    @property
    def units(self) -> int:
        """Return the number of units."""
        return self.parts.height

    @property
    def error(self) -> float:
        """Return the standard error; infinite with fewer than two units."""
        units = self.units
        if units < 2:
            return float("inf")
        parts = self.parts[PART].to_numpy()
        return float(np.sqrt((parts**2).sum() * units / (units - 1)))

    def bounds(self, deviations: float) -> tuple[float, float]:
        """Return the value less and plus so many standard errors."""
        half = deviations * self.error
        return self.value - half, self.value + half

    def estimate(self) -> Estimate | None:
        """Return the value with its 95 % interval; None with fewer than two units."""
        if self.units < 2:
            return None
        low, high = self.bounds(_NORMAL)
        return {"value": self.value, "low": low, "high": high}


def clustered_auc(labels: np.ndarray, scores: np.ndarray, units: pl.Series) -> Clustered:
    """Return the area under the ROC curve; ties count half.

    The parts are DeLong's placements, summed by unit (Obuchowski 1997, "Nonparametric analysis of
    clustered ROC curve data", Biometrics 53(2)).

    Args:
        labels: [N], 0 or 1.
        scores: [N].
        units: [N].

    Raises:
        ValueError: all labels are equal, or a score is not finite.
    """
    value = auc(labels, scores)
    return Clustered(value, _by_unit(units, auc_parts(labels, scores)))


def clustered_ratio(
    numerators: np.ndarray, denominators: np.ndarray, units: pl.Series
) -> Clustered:
    """Return the sum of the numerators over the sum of the denominators.

    A mean is a ratio whose denominators are 1.

    Args:
        numerators: [N].
        denominators: [N], at least 0.
        units: [N].

    Raises:
        ValueError: the denominators add up to 0, or a number is not finite.
    """
    above, below = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if not (np.isfinite(above).all() and np.isfinite(below).all() and below.sum() > 0):
        raise ValueError(
            "a ratio needs finite numbers whose denominators add up to more than 0; got "
            f"{len(below)} that add up to {below.sum()}"
        )
    value = above.sum() / below.sum()
    return Clustered(float(value), _by_unit(units, (above - value * below) / below.sum()))


def pooled(estimates: Sequence[Clustered], weights: Sequence[float]) -> Clustered:
    """Return the weighted mean of estimates of several strata, such as days.

    Strata are not compared with each other. So an AUC of strata weighted by their pairs of a
    positive and a negative row is the share of ordered pairs within the strata.

    Raises:
        ValueError: there is no weight above 0.
    """
    total = float(sum(weights))
    if not total > 0:
        raise ValueError(f"weights must add up to more than 0, got {list(weights)}")
    shares = [weight / total for weight in weights]
    return Clustered(
        sum(share * one.value for share, one in zip(shares, estimates, strict=True)),
        _summed([one.parts for one in estimates], shares),
    )


def difference(one: Clustered, other: Clustered) -> Clustered:
    """Return one − other; units that both share count with their covariance."""
    return Clustered(one.value - other.value, _summed([one.parts, other.parts], [1.0, -1.0]))


def logarithm(one: Clustered) -> Clustered:
    """Return the natural logarithm of an estimate, by the delta method.

    Raises:
        ValueError: the estimate is not above 0.
    """
    if not one.value > 0:
        raise ValueError(f"a logarithm needs a value above 0, got {one.value}")
    return Clustered(float(np.log(one.value)), one.parts.with_columns(pl.col(PART) / one.value))


def _by_unit(units: pl.Series, parts: np.ndarray) -> pl.DataFrame:
    """Return the sum of the parts of each unit, by unit.

    NumPy adds in the order of the rows, so that equal rows give equal bytes; Polars' threads do
    not.
    """
    codes = units.rank("dense").to_numpy().astype(np.int64) - 1
    names = units.unique().sort().alias(UNIT)
    return pl.DataFrame([names, pl.Series(PART, np.bincount(codes, parts, minlength=len(names)))])


def _summed(parts: Sequence[pl.DataFrame], factors: Sequence[float]) -> pl.DataFrame:
    every = pl.concat(parts)
    weights = np.repeat(np.asarray(factors, np.float64), [one.height for one in parts])
    return _by_unit(every[UNIT], every[PART].to_numpy() * weights)
