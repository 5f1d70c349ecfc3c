"""Reduce pretrained embeddings by PCA to the width that the towers take.

Components are the eigenvectors of the covariance matrix (Pearson 1901; Hotelling 1933). The matrix
is D x D for every size of the catalogue, so the decomposition costs the same for a million items.
The fit is deterministic and saved without pickle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys_assets.columns import EMBEDDING_DIM

#: Directions with less than this share of the largest variance are rounding errors.
_RANK_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Pca:
    """Holds a fitted PCA."""

    mean: np.ndarray  # [D]
    components: np.ndarray  # [dim, D]; rows beyond the data's rank are zero
    explained: np.ndarray  # [dim], shares of the variance

    @property
    def explained_total(self) -> float:
        """Return the share of the variance that all components explain."""
        return float(self.explained.sum())

    def apply(self, vectors: np.ndarray, missing: np.ndarray | None = None) -> np.ndarray:
        """Project vectors [N, D] to float32 [N, dim].

        Args:
            vectors: [N, D].
            missing: bool [N]; rows where it is true become zeros.

        Raises:
            ValueError: vectors have another width than those of the fit.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.mean):
            raise ValueError(
                f"vectors have shape {vectors.shape}; this PCA was fitted on [N, {len(self.mean)}]"
            )
        centred = vectors.astype(np.float64) - self.mean
        projected: np.ndarray = (centred @ self.components.T).astype(np.float32)
        if missing is not None:
            projected[missing] = 0.0
        return projected

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file."""
        with open(path, "wb") as stream:
            np.savez(stream, mean=self.mean, components=self.components, explained=self.explained)

    @classmethod
    def load(cls, path: Path) -> Pca:
        """Read a file that ``save`` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(stored["mean"], stored["components"], stored["explained"])


def fit_pca(
    vectors: np.ndarray, dim: int = EMBEDDING_DIM, missing: np.ndarray | None = None
) -> Pca:
    """Fit a PCA on the rows that are not missing.

    Args:
        vectors: [N, D].
        dim: output width; components beyond the data's rank are zero.
        missing: bool [N], rows to leave out.

    Raises:
        ValueError: fewer than two rows remain, or a value is not finite.
    """
    rows = np.asarray(vectors if missing is None else vectors[~missing], np.float64)
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"a PCA needs at least two existing rows [N, D]; got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(
            "vectors hold values that are not finite; check the encoder that made them"
        )
    mean = rows.mean(axis=0)
    centred = rows - mean
    variances, directions = np.linalg.eigh(centred.T @ centred / (len(rows) - 1))
    variances, directions = variances[::-1], directions.T[::-1]  # largest first, as rows
    kept = min(dim, len(rows) - 1, int((variances > variances[0] * _RANK_TOLERANCE).sum()))
    components, explained = np.zeros((dim, rows.shape[1])), np.zeros(dim)
    components[:kept] = directions[:kept]
    # An eigenvector's sign is arbitrary; make its largest loading positive.
    largest = np.abs(components).argmax(axis=1)
    components *= np.where(components[np.arange(dim), largest] < 0, -1.0, 1.0)[:, None]
    if variances.sum() > 0:
        explained[:kept] = variances[:kept] / variances.sum()
    return Pca(mean, components, explained)
