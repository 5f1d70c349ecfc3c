"""Indices of items that fine-tunes added: after the vocabulary, and unknown to the models."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.lib.features.item_index import ItemIndex, catalogue_items
from recsys_assets.lib.features.transforms import Transforms, TransformsInvalid, Vocabulary
from recsys_assets_tests.support import tiny_payload


def test_added_items_come_after_the_vocabulary():
    items = ItemIndex(Vocabulary("item_id", ["a", "b"]), ["new", "newer"])
    assert items.item_ids == ("a", "b", "new", "newer")
    assert items.indices(["a", "b", "new", "newer", "gone", "-1", None]).tolist() == [
        *(3, 4, 5, 6),
        *(2, 2, 1),
    ]
    assert items.of_models(np.arange(3, 7, dtype=np.int32)).tolist() == [3, 4, 2, 2]


def test_with_hash_buckets_the_models_take_an_added_item_for_its_bucket():
    vocabulary = Vocabulary("item_id", ["a", "b"], buckets=100)
    items = ItemIndex(vocabulary, ["new"])
    # the bucket's row follows the vocabulary too, but of the models' table
    assert items.index("new") == 5 and vocabulary.index("new") == 66
    assert items.of_models(np.array([4, 5], np.int32)).tolist() == [4, 66]
    assert items.index("gone") == 2, "no item of the release, whatever its bucket"


def test_without_added_items_nothing_is_translated():
    index = np.array([3, 2, 40], np.int32)
    assert ItemIndex(Vocabulary("item_id", ["a"])).of_models(index) is index


def with_added(*ids: object) -> dict:
    return {**tiny_payload.transforms(), "added_items": [*ids]}


def test_the_transforms_of_a_release_keep_every_index_of_the_models():
    before, after = (
        Transforms.from_dict(one) for one in (tiny_payload.transforms(), with_added("new"))
    )
    ids = [*tiny_payload.ITEM_IDS, "new", "gone"]
    np.testing.assert_array_equal(
        after.vocabulary["item_id"].indices(ids), before.vocabulary["item_id"].indices(ids)
    )
    assert after.item_index.indices(ids).tolist() == [*range(3, 44), 2]
    assert catalogue_items(with_added("new")) == [*tiny_payload.ITEM_IDS, "new"]
    kept = np.array([42, 43], np.int32)  # the last item of the vocabulary, and the added one
    codes, numbers = np.full((2, 3), 4, np.int32), np.ones((2, 2), np.float32)
    assert after.items(kept, codes, numbers)[0].tolist() == [[42, 4, 4, 4], [2, 4, 4, 4]]
    assert kept.tolist() == [42, 43], "the given indices stay"


@pytest.mark.parametrize("wrong", [["item-01"], ["new", "new"], ["-1"], [7]])
def test_ids_that_collide_are_refused(wrong):
    with pytest.raises(TransformsInvalid, match=r"transforms\.json: added_items"):
        Transforms.from_dict(with_added(*wrong))
