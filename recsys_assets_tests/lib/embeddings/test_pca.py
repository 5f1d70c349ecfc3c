"""PCA against scikit-learn's, and what it does with missing rows and few samples."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from recsys_assets.lib.embeddings.pca import Pca, fit_pca


@pytest.fixture
def vectors() -> np.ndarray:
    rng = np.random.default_rng(1)
    return (
        rng.standard_normal((80, 5)) @ rng.standard_normal((5, 20)) * 3
        + rng.standard_normal((80, 20))
        + 4
    ).astype(np.float32)


def test_as_scikit_learn(vectors):
    ours, theirs = fit_pca(vectors, 6), PCA(6, svd_solver="full").fit(vectors)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, rtol=1e-5)
    np.testing.assert_allclose(
        np.abs(ours.apply(vectors)), np.abs(theirs.transform(vectors)), atol=1e-3
    )
    assert ours.explained_total == pytest.approx(theirs.explained_variance_ratio_.sum(), rel=1e-5)


def test_signs_are_fixed(vectors):
    components = fit_pca(vectors, 6).components
    assert all(row[np.abs(row).argmax()] > 0 for row in components)
    # the mirrored data has the same axes: only the projections change their sign
    np.testing.assert_allclose(fit_pca(-vectors, 6).components, components, atol=1e-9)


def test_fewer_samples_than_dimensions_are_padded_with_zeros(vectors):
    few = vectors[:4]
    fitted = fit_pca(few, 64)
    projected = fitted.apply(few)
    assert projected.shape == (4, 64) and projected.dtype == np.float32
    assert not projected[:, 3:].any() and fitted.explained_total == pytest.approx(1.0)
    distances = lambda x: np.linalg.norm(x[:, None].astype(np.float64) - x[None], axis=2)  # noqa: E731
    np.testing.assert_allclose(distances(projected), distances(few), rtol=1e-4, atol=1e-4)


def test_missing_rows_are_left_out_and_stay_zero(vectors):
    missing = np.zeros(80, bool)
    missing[[0, 7]] = True
    spoiled = vectors.copy()
    spoiled[missing] = 0.0
    fitted = fit_pca(spoiled, 6, missing)
    np.testing.assert_allclose(fitted.components, fit_pca(vectors[~missing], 6).components)
    projected = fitted.apply(spoiled, missing)
    assert not projected[missing].any() and projected[~missing].any(axis=1).all()


def test_saved_and_loaded_it_projects_the_same(vectors, tmp_path):
    fitted = fit_pca(vectors, 6)
    fitted.save(tmp_path / "pca.npz")
    np.testing.assert_array_equal(
        Pca.load(tmp_path / "pca.npz").apply(vectors), fitted.apply(vectors)
    )


def test_equal_rows_have_no_directions():
    fitted = fit_pca(np.ones((5, 8), np.float32), 4)
    assert not fitted.apply(np.ones((5, 8), np.float32)).any() and fitted.explained_total == 0.0


def test_bad_input_is_named(vectors):
    with pytest.raises(ValueError, match="at least two existing rows"):
        fit_pca(vectors[:1])
    with pytest.raises(ValueError, match="not finite"):
        fit_pca(np.where(np.arange(20) == 3, np.nan, vectors))
    with pytest.raises(ValueError, match=r"fitted on \[N, 20\]"):
        fit_pca(vectors).apply(vectors[:, :10])
