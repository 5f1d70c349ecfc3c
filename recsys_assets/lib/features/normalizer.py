"""Normalise a number as NVTabular does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Normalizer:
    """Computes (x - mean) / std in float64, then rounds to float32."""

    mean: float
    std: float  # > 0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the normalised values, float32 [N]."""
        return ((values.astype(np.float64) - self.mean) / self.std).astype(np.float32)
