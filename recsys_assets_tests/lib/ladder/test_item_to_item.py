"""Popularity and item-to-item against plain computations on small logs."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.ladder.item_to_item import SHRINKAGE, ItemToItem, Weights
from recsys_assets_tests.support.small_clicks import BLOCKS, ITEMS, block_clicks, interactions

ITEM_IDS = np.array(ITEMS)


def log(days=range(20_000, 20_009), seed=1) -> pl.DataFrame:
    return interactions(block_clicks(days, seed))


def one(item: int, age: float = 0.0) -> tuple[sp.csr_matrix, np.ndarray]:
    """A visitor with one click."""
    entries = sp.csr_matrix(([1.0], [item], [0, 1]), shape=(1, len(ITEMS)))
    return entries, np.array([age])


def test_the_factors_give_the_cosines_of_the_items_columns():
    """60 items have 60 factors at most, so nothing is cut off."""
    clicks = log()
    model = ItemToItem.fit(clicks, ITEM_IDS, Weights())
    pairs = clicks.select("user_id", "item_id").unique()
    matrix = np.zeros((pairs["user_id"].n_unique(), len(ITEMS)))
    users = {user: n for n, user in enumerate(pairs["user_id"].unique().sort())}
    for user, item in pairs.iter_rows():
        matrix[users[user], ITEMS.index(item)] = 1.0
    count = matrix.sum(axis=0)
    scale = np.sqrt(count + SHRINKAGE)
    expected = (matrix.T @ matrix) / scale[:, None] / scale[None]
    found = model.vectors[:, 1:] @ model.vectors[:, 1:].T
    assert np.abs(found - expected).max() < 1e-5


def test_many_items_are_factorised_as_few_are():
    """Beyond 252 items, a Lanczos iteration takes the place of the dense decomposition."""
    rng = np.random.default_rng(3)
    users, items = rng.integers(0, 300, 6_000), rng.integers(0, 40, 6_000)
    clicks = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in users],
            "item_id": [f"i{n}" for n in items + 7 * (users % 8) * 5],
            "timestamp": np.full(6_000, 20_000 * 86_400),
        }
    )
    present = clicks["item_id"].unique().sort().to_list()
    few = ItemToItem.fit(clicks, np.array(present[:200]), Weights())
    many = ItemToItem.fit(
        clicks, np.array([*present[:200], *(f"never-{n}" for n in range(300))]), Weights()
    )
    products = few.vectors[:, 1:] @ few.vectors[:, 1:].T
    # items without a click change nothing, and have no vector
    assert np.abs(many.vectors[:200, 1:] @ many.vectors[:200, 1:].T - products).max() < 1e-5
    assert not many.vectors[200:].any()


def test_a_click_brings_the_items_of_its_block_and_popularity_orders_the_rest():
    model = ItemToItem.fit(log(), ITEM_IDS, Weights(popularity=0.05, half_life=24.0))
    per_block = len(ITEMS) // BLOCKS
    for block in range(BLOCKS):
        scores = model.queries(*one(block * per_block)) @ model.vectors.T
        best = np.argsort(-scores[0])[:8]
        assert set(best // per_block) == {block}
    nobody = model.queries(sp.csr_matrix((1, len(ITEMS))), np.zeros(0))
    order = np.argsort(-(nobody @ model.vectors.T)[0], kind="stable")
    assert order.tolist() == np.argsort(-model.vectors[:, 0], kind="stable").tolist()


def test_a_click_weighs_half_after_the_half_life():
    model = ItemToItem.fit(log(), ITEM_IDS, Weights(popularity=0.0, half_life=24.0))
    fresh, old = model.queries(*one(0)), model.queries(*one(0, age=24.0))
    assert np.allclose(old, fresh / 2) and np.abs(fresh).max() > 0


def test_newer_clicks_make_an_item_more_popular():
    clicks = interactions([("a", "i0", 20_000), ("b", "i1", 20_007), ("c", "i2", 20_007)])
    clicks = pl.concat([clicks, clicks[:1].with_columns(pl.lit("x").alias("user_id"))])
    model = ItemToItem.fit(clicks, ITEM_IDS, Weights())
    # two clicks a week ago equal one today, within the seconds between the rows
    assert model.vectors[:3, 0] == pytest.approx([1.0, 1.0, 1.0], abs=1e-3)
    assert not model.vectors[3:, 0].any()


def test_visitors_without_an_id_count_for_popularity_only():
    clicks = log().with_columns(pl.lit("-1").alias("user_id"))
    model = ItemToItem.fit(clicks, ITEM_IDS, Weights())
    assert model.vectors[:, 0].max() == 1.0 and not model.vectors[:, 1:].any()


@pytest.mark.parametrize("rows", [0, 1])
def test_one_row_and_none_are_enough(rows):
    model = ItemToItem.fit(log()[:rows], ITEM_IDS, Weights())
    assert np.isfinite(model.vectors).all()
    assert (model.vectors[:, 0] > 0).sum() == rows


def test_equal_logs_give_equal_vectors_in_any_order_of_rows():
    clicks = log()
    again = ItemToItem.fit(clicks.sample(fraction=1.0, shuffle=True, seed=2), ITEM_IDS, Weights())
    assert np.array_equal(ItemToItem.fit(clicks, ITEM_IDS, Weights()).vectors, again.vectors)


def test_what_was_written_is_read_again_in_the_order_of_the_vocabulary(tmp_path):
    model = ItemToItem.fit(log(), ITEM_IDS, Weights(0.5, 6.0))
    vocabulary = [*reversed(ITEMS), "only-in-the-vocabulary"]
    store = ArtifactStore(str(tmp_path))
    with store.stage("ladder/simple_rung", "2026-01-01") as staged:
        vectors, index = model.write(staged.path, vocabulary)
        artifact = staged.publish()
    read = ItemToItem.read(artifact, vocabulary)
    assert read.weights == model.weights and read.item_ids.tolist() == vocabulary
    assert np.array_equal(read.vectors[:-1], model.vectors[::-1]) and not read.vectors[-1].any()
    assert index.tolist() == list(range(3, 3 + len(vocabulary))) and len(vectors) == len(index)
    with np.load(artifact.path("query.npz")) as stored:
        assert not stored["table"][:3].any() and not stored["table"][:, 0].any()
        assert np.array_equal(stored["table"][3:, 1:], vectors[:, 1:])
