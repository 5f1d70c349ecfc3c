"""The latest items of visitors, against a list made click by click."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from recsys_assets.columns import ITEM_HISTORY, OOV_INDEX
from recsys_assets.lib.features import recent_items as module
from recsys_assets.lib.features.recent_items import recent_items
from recsys_assets.lib.features.transforms import TransformsInvalid, Vocabulary

ITEMS = [f"item-{n}" for n in range(90)]
VOCABULARY = Vocabulary("item_id", ITEMS)


def test_the_example() -> None:
    assert doctest.testmod(module) == (0, 3)


def test_several_visitors_have_their_own_items_newest_first() -> None:
    random = np.random.default_rng(3)
    counts = [0, 3, 50, 51, 200, 0, 49, 1, 0]
    items = random.choice([*ITEMS, "gone", "", "-1"], sum(counts)).astype(object)
    ages = random.uniform(0, 168, sum(counts)).astype(np.float32)
    indices, hours = recent_items(VOCABULARY, items, ages, counts)
    assert indices.dtype == np.int32 and hours.dtype == np.float32
    assert indices.shape == hours.shape == (len(counts), ITEM_HISTORY) == (9, 50)
    end = 0
    for row, count in enumerate(counts):
        end += count
        for place in range(50):
            click = end - 1 - place  # the newest is the last one
            known = place < count
            item = items[click] if known else None
            expected = 0 if not known else 3 + ITEMS.index(item) if item in ITEMS else OOV_INDEX
            assert indices[row, place] == expected, (row, place)
            assert hours[row, place] == (ages[click] if known else 0), (row, place)
    assert {0, 2} < set(indices.ravel().tolist()) and indices.max() > 80


def test_unknown_items_are_out_of_vocabulary_and_new_ones_share_hashed_rows() -> None:
    given = np.array(["item-0", "new", "-1", ""], object), np.zeros(4, np.float32), [4]
    assert recent_items(VOCABULARY, *given)[0][0, :5].tolist() == [2, 2, 2, 3, 0]
    hashed = recent_items(Vocabulary("item_id", ITEMS, buckets=7), *given)[0][0, :5].tolist()
    # an item whose name is not stored is none of the new ones
    assert hashed[:2] == [2, 2] and 93 <= hashed[2] < 100 and hashed[3:] == [3, 0]


@pytest.mark.parametrize("counts", [[], [2], [4], [2, 2], [4, -1], [-1, 4]])
def test_counts_that_do_not_add_up_are_refused(counts: list[int]) -> None:
    items, ages = np.array(ITEMS[:3], object), np.ones(3, np.float32)
    with pytest.raises(TransformsInvalid, match="must add up to the 3 items and 3 ages"):
        recent_items(VOCABULARY, items, ages, counts)


def test_items_and_ages_of_different_numbers_are_refused() -> None:
    with pytest.raises(TransformsInvalid, match="must add up to the 3 items and 2 ages"):
        recent_items(VOCABULARY, np.array(ITEMS[:3], object), np.ones(2, np.float32), [3])


def test_nobody_clicked() -> None:
    indices, hours = recent_items(VOCABULARY, np.array([], object), np.zeros(0, np.float32), [0, 0])
    assert not indices.any() and not hours.any() and indices.shape == (2, 50)
