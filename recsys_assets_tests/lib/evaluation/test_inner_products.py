"""Inner products that are nudged as rounding may nudge them."""

from __future__ import annotations

import numpy as np

from recsys_assets.lib.evaluation.inner_products import ROUNDING, NudgedProducts, inner_products


def test_only_equal_vectors_keep_equal_products() -> None:
    """Two vectors may have one product in float32, and another one elsewhere."""
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    vectors[7] = vectors[3]
    vectors[9] = vectors[3]
    vectors[9, 0] = np.nextafter(vectors[9, 0], np.float32(9))
    queries = np.zeros((2, 8), np.float32)
    queries[:, 1:] = rng.normal(size=(2, 7))  # so that the first number says nothing
    exact, nudged = inner_products(queries, vectors), NudgedProducts(7)
    assert (exact[:, 9] == exact[:, 3]).all()
    found = np.stack([nudged(queries, vectors) for _ in range(40)])
    np.testing.assert_array_equal(found[:, :, 7], found[:, :, 3])
    assert (found[:, :, 9] > found[:, :, 3]).any() and (found[:, :, 9] < found[:, :, 3]).any()
    away = np.abs(found.astype(np.float64) - exact) / np.abs(exact).max(axis=1)[None, :, None]
    assert 0 < away.max() <= 2 * ROUNDING  # float32 rounds the sum
    again = NudgedProducts(7)(queries, vectors)
    np.testing.assert_array_equal(again, found[0])
