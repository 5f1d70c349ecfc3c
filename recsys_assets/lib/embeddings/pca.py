"""PCA of pretrained embeddings to the width that the towers take: deterministic, saved without
pickle.

Source: the eigenvectors of the covariance matrix (Pearson 1901; Hotelling 1933). The matrix is D x
D whatever the size of the catalogue, so a million items cost one more pass, not a larger
decomposition.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys_assets.columns import EMBEDDING_DIM

#: Directions with less than this share of the largest variance are rounding, not data.
_RANK_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Pca:
    """mean [D], components [dim, D] (rows beyond the data's rank are zero), explained [dim] shares
    of variance.
    """

    mean: np.ndarray
    components: np.ndarray
    explained: np.ndarray

    @property
    def explained_total(self) -> float:
        return float(self.explained.sum())

    def apply(self, vectors: np.ndarray, missing: np.ndarray | None = None) -> np.ndarray:
        """Project vectors [N, D] → float32 [N, dim]; rows where missing [N] is true become
        zeros.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.mean):
            raise ValueError(
                f"vectors have shape {vectors.shape}; this PCA was fitted on [N, {len(self.mean)}]"
            )
        projected = ((vectors.astype(np.float64) - self.mean) @ self.components.T).astype(
            np.float32
        )
        if missing is not None:
            projected[missing] = 0.0
        return projected

    def save(self, path: Path) -> None:
        with open(path, "wb") as stream:
            np.savez(stream, mean=self.mean, components=self.components, explained=self.explained)

    @classmethod
    def load(cls, path: Path) -> Pca:
        with np.load(path, allow_pickle=False) as stored:
            return cls(stored["mean"], stored["components"], stored["explained"])


def fit_pca(
    vectors: np.ndarray, dim: int = EMBEDDING_DIM, missing: np.ndarray | None = None
) -> Pca:
    """Fit on the rows that exist.

    Args:
        vectors: [N, D].
        dim: output width; where the data have a lower rank, the rest is zero.
        missing: bool [N], rows to leave out of the fit.

    Raises:
        ValueError: fewer than two rows exist, or a value is not finite.
    """
    rows = np.asarray(vectors if missing is None else vectors[~missing], np.float64)
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"a PCA needs at least two existing rows [N, D]; got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(
            "vectors hold values that are not finite; look at the encoder that made them"
        )
    mean = rows.mean(axis=0)
    centred = rows - mean
    variances, directions = np.linalg.eigh(centred.T @ centred / (len(rows) - 1))
    variances, directions = (
        variances[::-1],
        directions.T[::-1],
    )  # largest first, one direction a row
    kept = min(dim, len(rows) - 1, int((variances > variances[0] * _RANK_TOLERANCE).sum()))
    components, explained = np.zeros((dim, rows.shape[1])), np.zeros(dim)
    components[:kept] = directions[:kept]
    # an eigenvector's sign is arbitrary: fix it by its largest loading
    largest = np.abs(components).argmax(axis=1)
    components *= np.where(components[np.arange(dim), largest] < 0, -1.0, 1.0)[:, None]
    if variances.sum() > 0:
        explained[:kept] = variances[:kept] / variances.sum()
    return Pca(mean, components, explained)
