"""Make streams of labelled predictions whose truth changes at a known prediction.

    P(click | x, c) = σ(b + s z),   z = standardised(w · x + Σ_k v(hash(k, c_k)))

x are dense features, c_k categorical values with a long tail, hashed into buckets. A second truth
has weights of its own and holds from the change on: z' = ρ z + √(1 − ρ²) z₂, where z₂ has no
correlation with z. Predictions are scored by the truth before the change, as by a model that has
learned it fully. So the AUC of the scores depends on s before the change, and on ρ after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DENSE, CATEGORIES, VALUES, BUCKETS = 8, 6, 20_000, 1_000
#: Rows on which logits are standardised.
SAMPLE = 50_000
#: s, with which the scores have an AUC of .75 at RATE, if z is normal.
SPREAD = 1.04
RATE = 0.25
#: ρ, with which the AUC falls to .55.
KEPT = 0.2
_HASH = 2_654_435_761  # Knuth's multiplicative hash, The Art of Computer Programming 3, 6.4


@dataclass(frozen=True)
class LabelledScores:
    """Holds predictions in order.

    Attributes:
        scores: probabilities of the model, float64 [N].
        labels: int8 [N], 0 or 1.
    """

    scores: np.ndarray
    labels: np.ndarray


class ClickStream:
    """Draws labelled predictions; equal seeds give equal ones.

    Args:
        seed: of weights and rows.
    """

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng([seed, 41])
        self._dense = self._generator.normal(0, 1, (DENSE, 2))
        self._hashed = self._generator.normal(0, 1, (CATEGORIES, BUCKETS, 2))
        raw = self._raw(SAMPLE)
        self._means, self._deviations = raw.mean(axis=0), raw.std(axis=0)
        both = (raw - self._means) / self._deviations
        self._correlation = float((both[:, 0] * both[:, 1]).mean())
        old, new = self._directions(raw)
        self._intercepts = _intercept(SPREAD * old), _intercept(SPREAD * new)

    def draw(self, rows: int, *, changed: bool) -> LabelledScores:
        """Return the next predictions.

        Args:
            rows: N.
            changed: the second truth decides on the labels.
        """
        old, new = self._directions(self._raw(rows))
        scores = _sigmoid(self._intercepts[0] + SPREAD * old)
        truth = _sigmoid(self._intercepts[1] + SPREAD * new) if changed else scores
        return LabelledScores(scores, (self._generator.random(rows) < truth).astype(np.int8))

    def _raw(self, rows: int) -> np.ndarray:
        """Return the sums of both truths over new rows, float64 [N, 2]."""
        found: np.ndarray = self._generator.normal(0, 1, (rows, DENSE)) @ self._dense
        for place in range(CATEGORIES):
            value = (VALUES * self._generator.random(rows) ** 3).astype(np.int64)
            bucket = (value * CATEGORIES + place) * _HASH % 2**32 % BUCKETS
            found += self._hashed[place, bucket]
        return found

    def _directions(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return z and z', float64 [N] each."""
        old, other = ((raw - self._means) / self._deviations).T
        # without its part along z, z₂ leaves the AUC after the change to KEPT alone
        free = (other - self._correlation * old) / np.sqrt(1 - self._correlation**2)
        return old, KEPT * old + np.sqrt(1 - KEPT**2) * free


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    found: np.ndarray = 1 / (1 + np.exp(-logits))
    return found


def _intercept(logits: np.ndarray) -> float:
    """Return b, with which a share RATE of the rows is clicked, by bisection."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(middle + logits).mean() < RATE else (low, middle)
    return (low + high) / 2
