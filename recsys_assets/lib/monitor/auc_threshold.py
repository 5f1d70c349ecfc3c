"""Derive the threshold that the rolling AUC of an unchanged model rarely falls below.

The AUC of w predictions is about normal, with the variance of Hanley and McNeil (1982, "The meaning
and use of the area under a receiver operating characteristic (ROC) curve", Radiology 143(1),
equation 1) for normal scores. Their simpler form for exponential scores is too small where
positives are frequent: by a quarter of the deviation at AUC .9 and 90 % of positives. The variance
is taken at the threshold and not at the model's AUC, as in the score interval of Wilson (1927): an
AUC has a longer tail towards .5.

The rolling AUC is about a mean over a moving window. So its correlation at a distance of h
predictions is 1 − h/W at a full window of W, and about 1 − h/2w while the window grows with w < W
predictions. A stationary normal process whose correlation begins with 1 − C·h passes a level k
deviations from its mean at a rate of C·k·φ(k) (Leadbetter, Lindgren and Rootzén 1983, "Extremes and
related properties of random sequences and processes", chapter 12, with Pickands' constant
H₁ = 1). The sum of all rates over 100,000 predictions is 1 % at k = 4.6, with W = 500.

Simulated streams of 100,000 independent predictions with a false alarm, where 1 % was asked for:

| AUC, positives, W | scores | streams | false alarms | with the variance at the model's AUC |
|---|---|---|---|---|
| .75, 25 %, 500 | logistic | 1,000 | 2 | 38 |
| .75, 25 %, 500 | normal | 500 | 2 | 21 |
| .7, 50 %, 500 | normal | 1,500 | 6 | 36 |
| .65, 40 %, 500 | normal | 600 | 3 | 8 |
| .9, 25 %, 500 | normal | 400 | 1 | 40 |
| .85, 10 %, 1,000 | logistic | 300 | 0 | 12 |
| .8, 75 %, 500 | logistic | 200 | 0 | 10 |
| .75, 25 %, 500 | exponential | 400 | 4 | 42 |
| .9, 25 %, 500 | exponential | 200 | 2 | 116 |

So the chance that was asked for is kept with a margin of two, and none at exponential scores. Rows
that depend on each other, such as those of one visitor, spread more than these.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import owens_t
from scipy.stats import norm

from recsys_assets.lib.monitor.rolling_auc import MINIMUM, WINDOW
from recsys_assets.lib.monitor.stream import whole

PREDICTIONS, CHANCE = 100_000, 0.01
#: Expected predictions of each class, below which the AUC is not about normal.
FEWEST = 10
_LOWEST = 0.05


def auc_variance(auc: float, positives: float, negatives: float) -> float:
    """Return the variance of an AUC whose scores are normal with one variance in both classes.

    Args:
        auc: expected, between 0 and 1.
        positives: their number, at least 1.
        negatives: their number, at least 1.

    Raises:
        ValueError: an argument is not valid.

    >>> round(auc_variance(0.75, 125, 375) ** 0.5, 4)
    0.0249
    """
    if not (0 < auc < 1 and positives >= 1 and negatives >= 1):
        raise ValueError(
            "give an auc between 0 and 1 and at least one positive and one negative; got "
            f"{auc}, {positives} and {negatives}"
        )
    # P(two random positives are above one random negative), equal to P(a random positive is above
    # two random negatives): two normal variables with correlation ½ are below their quantile
    both = auc - 2 * float(owens_t(norm.ppf(auc), 1 / math.sqrt(3)))
    return (auc * (1 - auc) + (positives + negatives - 2) * (both - auc**2)) / (
        positives * negatives
    )


def chance_below(
    threshold: float,
    auc: float,
    positive_rate: float,
    window: int = WINDOW,
    minimum: int = MINIMUM,
    predictions: int = PREDICTIONS,
) -> float:
    """Return about how likely the rolling AUC of an unchanged model falls below a threshold.

    It counts from an empty window on, as after a retrain. The value is accurate where it is small.

    Args:
        threshold: below the AUC.
        auc: of the model, above .5.
        positive_rate: share of positives.
        window: latest predictions in the rolling AUC.
        minimum: predictions from which on it is known.
        predictions: length of the stream.

    Raises:
        ValueError: an argument is not valid.
    """
    _refuse(auc, positive_rate, window, minimum, predictions)
    if not 0 < threshold < auc:
        raise ValueError(
            f"threshold must be above 0 and below the AUC of the model ({auc}), got {threshold}"
        )
    sizes = np.arange(minimum, window + 1)
    spread = np.array([_deviation(threshold, positive_rate, size) for size in sizes.tolist()])
    levels = (auc - threshold) / spread
    rates = levels * norm.pdf(levels)
    first = norm.cdf(-levels[0])
    growing = (rates / (2 * sizes))[:-1].sum()
    full = max(predictions - window, 0) / window * rates[-1]
    return min(1.0, float(first + growing + full))


def suggested_threshold(
    auc: float,
    positive_rate: float,
    window: int = WINDOW,
    minimum: int = MINIMUM,
    predictions: int = PREDICTIONS,
    chance: float = CHANCE,
) -> float:
    """Return the highest threshold of the rolling AUC with rare enough false alarms.

    Args:
        auc: of the champion, on predictions that it has not learned.
        positive_rate: share of positives in them.
        window: latest predictions in the rolling AUC.
        minimum: predictions from which on it is known.
        predictions: length of a stream without a change.
        chance: accepted probability of a false alarm in it.

    Raises:
        ValueError: an argument is not valid, or the window is too short to tell the model from
            chance; the message names one that suffices.

    >>> round(suggested_threshold(0.75, 0.25), 3)
    0.617
    """
    _refuse(auc, positive_rate, window, minimum, predictions)
    if not 0 < chance < 1:
        raise ValueError(
            f"chance must be a probability between 0 and 1, such as 0.01; got {chance}"
        )
    found = _threshold(auc, positive_rate, window, minimum, predictions, chance)
    if found > 0.5:
        return found
    # at the same number of deviations; fewer are needed in a longer window
    deviations = (auc - found) / _deviation(found, positive_rate, window)
    factor = (deviations * _deviation(0.5, positive_rate, window) / (auc - 0.5)) ** 2
    enough, least = (math.ceil(size * factor / 100) * 100 for size in (window, minimum))
    raise ValueError(
        f"a window of {window} cannot tell an AUC of {auc} at a positive rate of {positive_rate} "
        f"from chance; take window={enough} and minimum={least}"
    )


def _threshold(
    auc: float, rate: float, window: int, minimum: int, predictions: int, chance: float
) -> float:
    def excess(threshold: float) -> float:
        return chance_below(threshold, auc, rate, window, minimum, predictions) - chance

    # the rate of passing a level falls from one deviation on
    highest = auc - _deviation(auc, rate, window)
    if excess(highest) <= 0:
        return highest
    if excess(_LOWEST) >= 0:
        return _LOWEST
    return float(brentq(excess, _LOWEST, highest, xtol=1e-9))


def _deviation(auc: float, rate: float, size: int) -> float:
    return math.sqrt(auc_variance(auc, size * rate, size * (1 - rate)))


def _refuse(auc: float, rate: float, window: int, minimum: int, predictions: int) -> None:
    whole("minimum", minimum, 2)
    whole("window", window, minimum)
    whole("predictions", predictions, 1)
    if not 0.5 < auc < 1:
        raise ValueError(
            f"auc must be above 0.5 and below 1, got {auc}; a model that does not order better "
            "than chance cannot be watched by its AUC"
        )
    if not 0 < rate < 1:
        raise ValueError(f"positive_rate must be between 0 and 1, got {rate}")
    if minimum * min(rate, 1 - rate) < FEWEST:
        needed = math.ceil(FEWEST / min(rate, 1 - rate))
        raise ValueError(
            f"minimum must be at least {needed} at a positive rate of {rate}, so that {FEWEST} "
            f"predictions of each class are expected; got {minimum}"
        )
