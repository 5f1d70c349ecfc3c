"""The catalogue in the models' order, by hand and through a real ONNX file."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys_assets.lib.embeddings.aligned import align_embeddings, item_tower_inputs
from recsys_assets.lib.retrieval.item_vectors import item_vectors
from recsys_assets_tests.support import linear_onnx

VOCABULARY = {
    "user_id": ["u1"],
    "gender": ["F", "M"],
    "top_category": ["books"],
    "device_type": ["mobile"],
    "age_binned": ["0", "1", "2", "3", "4", "5"],
    "item_id": ["c", "a", "b"],
    "category_l1": ["books", "tools"],
    "category_l2": ["novel", "drill"],
    "item_gender": ["Any", "F"],
}
TRANSFORMS = {
    "vocabulary": VOCABULARY,
    "cardinality": {name: 3 + len(values) for name, values in VOCABULARY.items()},
    "hashed_buckets": {},
    "age": {"mean": 32.0, "std": 15.0},
    "price_log": {"mean": 2.0, "std": 0.5},
    "age_boundaries": [18, 25, 35, 50, 65],
    "mean_age": 32.0,
}


@pytest.fixture
def items() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "category_l1": ["tools", "books", "toys"],
            "category_l2": ["drill", "novel", "novel"],
            "item_gender": ["F", "Any", None],
            "price": [np.e**2, np.e**3, 1.0],
        }
    )


def test_item_tower_inputs_by_hand(items):
    inputs = item_tower_inputs(TRANSFORMS, items)
    assert {name: (a.dtype, a.shape) for name, a in inputs.items()} == {
        "index": (np.int32, (3,)),
        "cat": (np.int32, (3, 4)),
        "cont": (np.float32, (3, 1)),
    }
    assert inputs["index"].tolist() == [4, 5, 3]
    # columns: item_id, category_l1, category_l2, item_gender; 2 = not in the vocabulary, 1 = null
    assert inputs["cat"].tolist() == [[4, 4, 4, 4], [5, 3, 3, 3], [3, 2, 3, 1]]
    np.testing.assert_allclose(inputs["cont"][:, 0], [0.0, 2.0, -4.0], atol=1e-6)


def test_an_item_without_clicks_keeps_its_index_but_loses_its_id(items):
    inputs, usual = (
        item_tower_inputs(TRANSFORMS, items, {"b"}),
        item_tower_inputs(TRANSFORMS, items),
    )
    np.testing.assert_array_equal(inputs["index"], usual["index"])
    assert (
        inputs["cat"][:, 0].tolist() == [4, 2, 3] and inputs["cat"].dtype == np.int32
    )  # 2 = not in the vocabulary
    np.testing.assert_array_equal(inputs["cat"][:, 1:], usual["cat"][:, 1:])
    np.testing.assert_array_equal(inputs["cont"], usual["cont"])


def test_an_item_without_a_price_has_the_mean(items):
    some = item_tower_inputs(TRANSFORMS, items.with_columns(price=pl.Series([None, np.e**3, None])))
    np.testing.assert_allclose(some["cont"][:, 0], [0.0, 2.0, 0.0], atol=1e-6)
    none = items.with_columns(price=pl.lit(None, pl.Float64))
    assert not item_tower_inputs(TRANSFORMS, none)["cont"].any()


def test_bad_catalogues_are_named(items):
    with pytest.raises(ValueError, match=r"item_id must be unique.*\['a'\]"):
        item_tower_inputs(TRANSFORMS, pl.concat([items, items[:1]]))
    with pytest.raises(
        ValueError,
        match=r"1 items are not in the item_id vocabulary: \['new'\].*features/workflows",
    ):
        item_tower_inputs(TRANSFORMS, items.with_columns(item_id=pl.Series(["a", "b", "new"])))
    for price in (-2.0, 0.0, float("nan")):
        with pytest.raises(ValueError, match=r"price is not a number above 0 for 1 items: \['b'\]"):
            item_tower_inputs(TRANSFORMS, items.with_columns(price=pl.Series([1.0, price, 2.0])))


def test_embeddings_are_aligned_by_index():
    text = np.arange(1, 4, dtype=np.float32)[:, None] * np.ones((1, 64), np.float32)
    image = -text
    image[1] = 0.0  # b has no picture
    table, counts = align_embeddings(TRANSFORMS, ["a", "b", "gone"], text, image)
    assert table.shape == (6, 128) and table.dtype == np.float32
    assert table[:, 0].tolist() == [
        0,
        0,
        0,
        0,
        1,
        2,
    ]  # rows 0-2 belong to no item, row 3 (c) has no embedding
    assert table[:, 64].tolist() == [0, 0, 0, 0, -1, 0]
    assert counts == {"items": 3, "not_in_vocabulary": 1, "without_text": 1, "without_image": 2}


def test_hashed_buckets_get_rows_of_zeros():
    buckets = {**TRANSFORMS, "cardinality": {**TRANSFORMS["cardinality"], "item_id": 10}}
    ones = np.ones((3, 64), np.float32)
    table, counts = align_embeddings(buckets, ["a", "b", "c"], ones, ones)
    assert table[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0]
    assert counts == {"items": 3, "not_in_vocabulary": 0, "without_text": 0, "without_image": 0}


def test_embeddings_of_other_rows_or_widths_are_refused():
    good = np.zeros((2, 64), np.float32)
    with pytest.raises(ValueError, match="2 item ids, 1 text and 2 image"):
        align_embeddings(TRANSFORMS, ["a", "b"], good[:1], good)
    with pytest.raises(ValueError, match="widths 64 and 10; expected 64"):
        align_embeddings(TRANSFORMS, ["a", "b"], good, good[:, :10])


def test_item_vectors_through_onnx(items, tmp_path):
    weights = linear_onnx.write_models(tmp_path)["item_tower.onnx"]
    inputs = item_tower_inputs(TRANSFORMS, items)
    table = np.random.default_rng(0).standard_normal((6, 128)).astype(np.float32)
    vectors = item_vectors(tmp_path / "item_tower.onnx", inputs, table, batch=2)
    expected = linear_onnx.answer(weights, {**inputs, "embeddings": table[inputs["index"]]})
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
