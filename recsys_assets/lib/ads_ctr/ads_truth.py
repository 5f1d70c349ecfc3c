"""Define the truth of simulated ads: the probability of each click, as a formula.

    P(click | row, t) = σ(b + Σ_j f_j(I_j) + Σ_k w_k(C_k) + Σ_(k,l) ⟨v_k(C_k), v_l(C_l)⟩)

- f_j: a bend of log(1 + I_j), so that a straight line does not suffice.
- w_k: an effect per value. Values are numbered by how frequent they are, and effects shrink with
  the number, so that what a rare value does can be learnt or does not matter.
- ⟨v_k, v_l⟩: what two values do together. No sum over single features can express it.
- b gives RATE of the rows a click.

Each part exists twice, before and after a change. A drift says how much of the second one holds at
a time. Only the simulator and the evaluation may read a truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from recsys_assets.ads_columns import CATEGORIES, INTEGERS
from recsys_assets.lib.ads_ctr.ads_features import features

RATE = 0.25  # of clicks, about that of the challenge's rows
#: Values with an effect; the effect of value n is divided by 1 + n / HALVED.
EFFECTIVE, HALVED = 512, 16
FACTORS = 4
#: Categories that act together, by position: each of the left with each of the right.
LEFT, RIGHT = (1, 4, 10), (6, 17, 22)
#: Standard deviations of the three sums of the formula, in logits.
BEND, SINGLE, TOGETHER = 0.5, 1.0, 0.9
#: Amplitude of a seasonal drift, in logits.
SEASON = 1.5
_SAMPLE = 20_000

DriftKind = Literal["none", "abrupt", "slow", "seasonal", "broken"]
KINDS: tuple[DriftKind, ...] = get_args(DriftKind)


@dataclass(frozen=True)
class AdsDrift:
    """Says what changes, and when.

    Attributes:
        kind: none; abrupt: the second truth holds from a time on; slow: it comes in over some days;
            seasonal: the categories that act together shift the odds up and down over each day;
            broken: I1 and C1 arrive in another form, and the truth stays.
        at: days since the first row, where it begins.
        lasts: days until a slow drift is whole.

    Raises:
        ValueError: the kind is unknown, or a time is negative.
    """

    kind: DriftKind = "none"
    at: float = 0.0
    lasts: float = 3.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"drift must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not self.at >= 0 or not self.lasts > 0:
            raise ValueError(
                f"a drift begins at 0 days or later and lasts more than 0, got {self.at} and "
                f"{self.lasts}"
            )

    def share(self, days: np.ndarray) -> np.ndarray:
        """Return how much of the second truth holds, 0 to 1, float64 [N].

        days: since the first row, [N].

        >>> AdsDrift("slow", at=1, lasts=2).share(np.array([0.5, 2.0, 9.0])).tolist()
        [0.0, 0.5, 1.0]
        """
        if self.kind == "abrupt":
            return (days >= self.at).astype(np.float64)
        if self.kind == "slow":
            return np.clip((days - self.at) / self.lasts, 0.0, 1.0)
        return np.zeros(len(days))

    def season(self, days: np.ndarray) -> np.ndarray:
        """Return the shift of the season in logits, float64 [N]."""
        if self.kind != "seasonal":
            return np.zeros(len(days))
        return np.where(days >= self.at, SEASON * np.sin(2 * np.pi * days), 0.0)


@dataclass(frozen=True)
class AdsTruth:
    """Computes click probabilities; equal seeds give equal ones.

    Attributes:
        seed: of all effects.
        drift: what changes.
    """

    seed: int
    drift: AdsDrift = AdsDrift()

    def probability(self, counts: np.ndarray, values: np.ndarray, days: np.ndarray) -> np.ndarray:
        """Return the probability of a click, float64 [N].

        Args:
            counts: float64 [N, 13], NaN where empty.
            values: int64 [N, 26], numbers of the values from 0; -1 where empty.
            days: float64 [N], since the first row.
        """
        share = self.drift.share(days)[:, None]
        both = np.stack([self._logits(counts, values, part) for part in (0, 1)], axis=1)
        parts = np.concatenate([1 - share, share], axis=1)
        # two independent sums: their mixture has the deviation of one
        mixed = (both * parts).sum(axis=1) / np.sqrt((parts**2).sum(axis=1))
        mixed += parts @ np.array(self._intercepts)
        mixed += self.drift.season(days) * self._sign(values)
        return np.asarray(1 / (1 + np.exp(-mixed)))

    @cached_property
    def _bends(self) -> np.ndarray:
        """Return height, place and width of each bend, float64 [2, 13, 3]."""
        generator = np.random.default_rng([self.seed, 1])
        found = np.empty((2, len(INTEGERS), 3))
        found[..., 0] = generator.normal(0, 1, found.shape[:2])
        found[..., 1] = generator.uniform(0.5, 4, found.shape[:2])
        found[..., 2] = generator.uniform(0.5, 2, found.shape[:2])
        return found

    @cached_property
    def _effects(self) -> np.ndarray:
        """Return the effects of single values, float64 [2, 26, EFFECTIVE]."""
        generator = np.random.default_rng([self.seed, 2])
        size = (2, len(CATEGORIES), EFFECTIVE)
        return np.asarray(generator.normal(0, 1, size) / (1 + np.arange(EFFECTIVE) / HALVED))

    @cached_property
    def _vectors(self) -> np.ndarray:
        """Return the vectors of values, float64 [2, 26, EFFECTIVE, FACTORS]."""
        generator = np.random.default_rng([self.seed, 3])
        size = (2, len(CATEGORIES), EFFECTIVE, FACTORS)
        falling = 1 / (1 + np.arange(EFFECTIVE) / HALVED)
        return np.asarray(generator.normal(0, 1, size) * falling[:, None])

    @cached_property
    def _scales(self) -> np.ndarray:
        """Return what each of the three sums is multiplied with, float64 [2, 3].

        The sums then have the stated deviations over a sample of rows.
        """
        counts, values = features(np.random.default_rng([self.seed, 4]), _SAMPLE)
        deviations = np.array(
            [[one.std() for one in self._sums(counts, values, part)] for part in (0, 1)]
        )
        return np.asarray(np.array([BEND, SINGLE, TOGETHER]) / np.maximum(deviations, 1e-9))

    @cached_property
    def _intercepts(self) -> tuple[float, float]:
        """Return b of both truths."""
        return self._intercept(0), self._intercept(1)

    def _intercept(self, part: int) -> float:
        """Return b of a truth, found by halving."""
        counts, values = features(np.random.default_rng([self.seed, 5]), _SAMPLE)
        logits = self._logits(counts, values, part)
        low, high = -20.0, 20.0
        for _ in range(50):
            middle = (low + high) / 2
            above = float((1 / (1 + np.exp(-(logits + middle)))).mean()) > RATE
            low, high = (low, middle) if above else (middle, high)
        return middle

    def _logits(self, counts: np.ndarray, values: np.ndarray, part: int) -> np.ndarray:
        sums = self._sums(counts, values, part)
        scaled = sum(scale * one for scale, one in zip(self._scales[part], sums, strict=True))
        return np.asarray(scaled)

    def _sums(self, counts: np.ndarray, values: np.ndarray, part: int) -> list[np.ndarray]:
        """Return the three sums of the formula, [N] each, not yet scaled."""
        height, place, width = self._bends[part].T
        with np.errstate(invalid="ignore"):
            logs = np.log1p(np.maximum(counts, 0))
        bends = np.nansum(height * np.tanh((logs - place) / width), axis=1)
        single = np.zeros(len(values))
        for column in range(len(CATEGORIES)):
            single += _looked_up(self._effects[part, column], values[:, column])
        left, right = (
            sum(_looked_up(self._vectors[part, column], values[:, column]) for column in side)
            for side in (LEFT, RIGHT)
        )
        return [bends, single, (np.asarray(left) * np.asarray(right)).sum(axis=1)]

    def _sign(self, values: np.ndarray) -> np.ndarray:
        """Return 1 or -1 by the value of one category: whom the season moves up, and whom down."""
        return np.where(values[:, LEFT[0]] % 2 == 0, 1.0, -1.0)


def _looked_up(table: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the rows of the table; zeros for numbers beyond it and for -1."""
    known = (numbers >= 0) & (numbers < len(table))
    found: np.ndarray = table[np.where(known, numbers, 0)]
    found[~known] = 0
    return found
