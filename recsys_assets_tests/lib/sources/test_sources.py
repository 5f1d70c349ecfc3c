"""Every kind of source against sums by hand, and what none of them may do."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.lib.sources import sources
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import (
    FoldIn,
    MostPopular,
    Neighbours,
    OwnItems,
    Sessions,
    Young,
    highest,
)
from recsys_assets.source_names import EASE, FOLLOW_UPS
from recsys_assets_tests.support import tiny_payload

NOBODY = Recent(np.zeros(0, np.int64), np.zeros(0, np.float32))


def recent(*clicks: tuple[int, float]) -> Recent:
    """Clicks (row, hours ago), newest first."""
    return Recent(
        np.array([row for row, _ in clicks], np.int64),
        np.array([age for _, age in clicks], np.float32),
    )


def test_only_items_of_the_vocabulary_count():
    found = Recent.of(np.array([5, 2, 0, 3], np.int32), np.array([1, 2, 0, 9], np.float32))
    assert found.rows.tolist() == [2, 0] and found.ages.tolist() == [1.0, 9.0]


def test_clicks_of_one_moment_share_a_place():
    mine = recent((1, 2.0), (2, 2.0), (3, 5.0))
    assert mine.places.tolist() == [0, 0, 1]
    assert mine.by_place(0.5).tolist() == [1.0, 1.0, 0.5]
    assert mine.by_age(3.0).tolist() == [1.0, 1.0, 0.5], "the newest weighs 1"
    assert NOBODY.places.tolist() == [] and NOBODY.by_age(1.0).tolist() == []


def test_neighbours_sum_by_place_or_by_age():
    items = np.array([[1, 2], [2, 3], [0, 0], [0, 0]], np.int32)
    weights = np.array([[1.0, 0.4], [0.7, 0.1], [0.0, 0.0], [0.0, 0.0]], np.float32)
    mine = recent((1, 0.0), (0, 10.0))
    # 1: .5 · 1; 2: .7 + .5 · .4 = .9; 3: .1
    assert Neighbours.of(FOLLOW_UPS, items, weights, decay=0.5).best(mine, 9).tolist() == [2, 1, 3]
    # with age the older click counts a tenth: 1: .1; 2: .74; 3: .1 (of equal ones the lower row)
    aged = Neighbours.of(EASE, items, weights, half_life=10 / np.log2(10))
    assert aged.best(mine, 2).tolist() == [2, 1]
    assert aged.best(recent((3, 1.0)), 9).tolist() == [], "an item without neighbours"


def test_neighbours_name_the_click_that_adds_most():
    # item 0 is followed by 2; item 1 by 2 and 3
    items = np.array([[2, 4], [2, 3], [0, 0], [0, 0], [0, 0]], np.int32)
    weights = np.array([[1.0, 0.5], [0.6, 0.1], [0, 0], [0, 0], [0, 0]], np.float32)
    after = Neighbours.of(FOLLOW_UPS, items, weights, decay=0.5)
    wanted = np.array([2, 3, 4, 1])
    # newest first: item 1 adds .6 to 2, the older item 0 adds .5
    assert after.cause(recent((1, 0.0), (0, 1.0)), wanted).tolist() == [1, 1, 0, -1]
    assert after.cause(recent((0, 0.0), (1, 1.0)), wanted).tolist() == [0, 1, 0, -1]
    # two clicks on item 0 add .5 + .25
    twice = recent((1, 0.0), (0, 1.0), (0, 2.0))
    assert after.cause(twice, wanted).tolist() == [0, 1, 0, -1]
    # by age, item 0 of 10 hours ago counts a half: .5 against .6; a quarter hour ago nearly 1
    aged = Neighbours.of(EASE, items, weights, half_life=10.0)
    assert aged.cause(recent((1, 0.0), (0, 10.0)), wanted).tolist() == [1, 1, 0, -1]
    assert aged.cause(recent((1, 0.0), (0, 0.25)), wanted).tolist() == [0, 1, 0, -1]
    assert after.cause(NOBODY, wanted).tolist() == [-1] * 4
    assert after.cause(twice, wanted[:0]).tolist() == []


def test_a_click_that_takes_away_is_no_cause():
    items = np.array([[2, 1], [2, 0], [0, 0]], np.int32)
    weights = np.array([[-3.0, -1.0], [0.5, 0.0], [0.0, 0.0]], np.float32)
    found = Neighbours.of(EASE, items, weights).cause(
        recent((0, 0.0), (1, 0.0)), np.array([2, 1, 0])
    )
    assert found.tolist() == [1, -1, -1]


def test_of_equal_clicks_the_last_is_the_cause():
    items, weights = np.array([[2], [2], [0]], np.int32), np.array([[1], [1], [0]], np.float32)
    near = Neighbours.of(EASE, items, weights)
    for first, second in ((0, 1), (1, 0)):
        mine = recent((first, 3.0), (second, 3.0))
        assert near.cause(mine, np.array([2])).tolist() == [first]


def test_weights_below_zero_take_away():
    items = np.array([[1, 2], [1, 2], [0, 0]], np.int32)
    weights = np.array([[1.0, 0.5], [-2.0, 0.5], [0.0, 0.0]], np.float32)
    mine = recent((0, 1.0), (1, 1.0))
    assert Neighbours.of(EASE, items, weights).best(mine, 9).tolist() == [2]


def test_own_items_fade():
    mine = recent((4, 0.0), (7, 1.0), (7, 2.0), (9, 100.0))
    assert OwnItems(half_life=10.0).best(mine, 9).tolist() == [7, 4, 9]


def test_an_own_item_is_its_own_cause():
    mine = recent((4, 0.0), (7, 1.0))
    assert OwnItems().cause(mine, np.array([7, 4, 5])).tolist() == [7, 4, -1]


def test_popular_items_are_the_same_for_all():
    assert MostPopular(np.array([3, 1, 2])).best(NOBODY, 2).tolist() == [3, 1]


def test_fold_in_solves_the_equation_of_hu_koren_volinsky():
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(30, 4)).astype(np.float32)
    wide = factors.astype(np.float64)
    gram = wide.T @ wide + 0.5 * np.eye(4)
    mine = recent((3, 0.0), (8, 6.0), (3, 12.0))
    confidence = np.zeros(30)
    for row, age in ((3, 0.0), (8, 6.0), (3, 12.0)):
        confidence[row] += 2.0 * 0.5 ** (age / 6.0)
    left = wide.T @ np.diag(1.0 + confidence) @ wide + 0.5 * np.eye(4)
    visitor = np.linalg.solve(left, wide.T @ ((1.0 + confidence) * (confidence > 0)))
    expected = np.argsort(-(wide @ visitor))[:10]
    found = FoldIn(factors, gram, alpha=2.0, half_life=6.0).best(mine, 10)
    np.testing.assert_array_equal(found, expected)


def test_sessions_sum_the_nearest_ones():
    # sessions {0, 1}, {1, 2}, {2, 3}; every item lists its sessions with weight 1
    source = Sessions(
        item_start=np.array([0, 1, 3, 5, 6]),
        session=np.array([0, 0, 1, 1, 2, 2], np.int32),
        rarity=np.ones(4),
        recency=np.ones(3),
        start=np.array([0, 2, 4, 6]),
        items=np.array([0, 1, 1, 2, 2, 3], np.int32),
        neighbours=2,
        decay=0.5,
    )
    # item 1 weighs 1, item 3 half: sessions 0 and 1 with 1, session 2 with .5 is no neighbour
    assert source.best(recent((1, 0.0), (3, 1.0)), 9).tolist() == [1, 0, 2]
    assert source.best(NOBODY, 9).tolist() == []


def test_young_items_by_content():
    content = np.zeros((3 + 4, 2), np.float32)
    content[3:] = [[1, 0], [0, 2], [3, 3], [0, 0]]
    source = Young(np.array([1, 2, 3]), content)
    # like item 0: item 2 at 45°, item 1 and the one without content at none
    assert source.best(recent((0, 1.0)), 9).tolist() == [2, 1, 3]
    assert Young(np.zeros(0, np.int64), content).best(recent((0, 1.0)), 9).tolist() == []


def test_young_items_name_the_item_of_the_highest_cosine():
    content = np.zeros((3 + 5, 2), np.float32)
    content[3:] = [[1, 0], [0, 2], [3, 4], [0, 0], [1, 0]]
    source = Young(np.array([2, 3, 4]), content, latest=2)
    # item 2 has cosine .6 with item 0 and .8 with item 1; item 3 has no content
    wanted = np.array([2, 3, 4])
    assert source.cause(recent((0, 1.0), (1, 2.0)), wanted).tolist() == [1, -1, 0]
    # two clicks on item 0 add 1.2
    assert source.cause(recent((0, 1.0), (0, 2.0)), wanted).tolist() == [0, -1, 0]
    # the third click is not compared
    assert source.cause(recent((3, 0.0), (0, 1.0), (1, 2.0)), wanted).tolist() == [0, -1, 0]
    assert source.cause(NOBODY, wanted).tolist() == [-1] * 3


@pytest.mark.parametrize("source", tiny_payload.sources(), ids=lambda source: source.name)
def test_no_source_repeats_an_item_or_exceeds_its_length(source):
    rng = np.random.default_rng(3)
    for size in (0, 1, 5, 50):
        ages = np.sort(rng.random(size).astype(np.float32)) * 100
        mine = Recent(rng.integers(0, 40, size), ages)
        for most in (1, 7, 1_000):
            found = source.best(mine, most)
            assert len(found) <= most and len(set(found.tolist())) == len(found)
            assert found.dtype == np.int64 and ((found >= 0) & (found < 40)).all()
            more = source.best(mine, 1_000)
            assert more[: len(found)].tolist() == found.tolist(), "a longer list begins alike"


@pytest.mark.parametrize("size", [0, 1, 300])
def test_sums_are_the_same_to_the_bit_in_a_small_and_in_a_large_catalogue(size, monkeypatch):
    rng = np.random.default_rng(size)
    rows, weights = rng.integers(0, 50, size), rng.normal(size=size).astype(np.float32)
    small = sources.total(rows, weights, 50)
    monkeypatch.setattr(sources, "DENSE", 0)
    large = sources.total(rows, weights, 50)
    for one, other in zip(small, large, strict=True):
        np.testing.assert_array_equal(one, other)


def test_of_equal_scores_the_lowest_item_comes_first():
    assert highest(np.array([1, 2, 3]), np.array([0.5, 0.5, 0.5]), 2).tolist() == [1, 2]
