"""The blend of retrieval and sources: order, what an item owes, and new items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.causes import NO_CAUSE
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import MostPopular, Neighbours, OwnItems, Young
from recsys_assets.lib.sources.union import LISTED, RETRIEVED
from recsys_assets.source_names import (
    ALL_SOURCES,
    EASE,
    OWN_ITEMS,
    POPULARITY,
    RETRIEVAL,
    YOUNG_ITEMS,
)

MINE = Recent(np.array([4], np.int64), np.array([1.0], np.float32))


def blend(retrieval: float, popularity: float, own: float, young: tuple[int, ...] = ()) -> Blend:
    fresh = np.zeros(10, bool)
    fresh[list(young)] = True
    weights = {RETRIEVAL: retrieval, POPULARITY: popularity, OWN_ITEMS: own}
    return Blend((MostPopular(np.array([3, 1])), OwnItems()), weights, fresh)


def test_the_order_follows_the_weights():
    retrieved = np.array([1, 2])
    assert blend(1.0, 0.0, 0.0).of(MINE, retrieved).rows.tolist() == [1, 2, 3, 4]
    assert blend(0.0, 1.0, 0.0).of(MINE, retrieved).rows.tolist() == [3, 1, 2, 4]
    assert blend(0.0, 0.0, 1.0).of(MINE, retrieved).rows[0] == 4


def test_it_says_which_lists_have_an_item_and_to_which_it_owes_most():
    found = blend(1.0, 0.1, 1.0).owed(MINE, np.array([1, 2]), np.array([4, 1, 2, 3]))
    bit = {name: 1 << k for k, name in enumerate(ALL_SOURCES)}
    assert found.found_by.tolist() == [
        bit[OWN_ITEMS],
        bit[RETRIEVAL] | bit[POPULARITY],
        bit[RETRIEVAL],
        bit[POPULARITY],
    ]
    mostly = [ALL_SOURCES[one] for one in found.mostly]
    assert mostly == [OWN_ITEMS, RETRIEVAL, RETRIEVAL, POPULARITY]


def test_the_cause_is_that_of_the_source_to_which_an_item_owes_most():
    items, weights = np.array([[3], [4], [0], [0], [0]]), np.array([[1], [1], [0], [0], [0]])
    near = Neighbours.of(EASE, items.astype(np.int32), weights.astype(np.float32))
    made = Blend(
        (near, MostPopular(np.array([3])), OwnItems()),
        {RETRIEVAL: 1.0, EASE: 1.0, POPULARITY: 1.0, OWN_ITEMS: 1.0},
        np.zeros(5, bool),
    )
    mine = Recent(np.array([4, 1, 0], np.int64), np.array([1.0, 2.0, 3.0], np.float32))
    mostly = [EASE, POPULARITY, EASE, OWN_ITEMS, RETRIEVAL]
    codes = np.array([ALL_SOURCES.index(name) for name in mostly], np.int32)
    found = made.causes(mine, np.array([3, 3, 4, 4, 4]), codes)
    assert found.tolist() == [0, -1, 1, 4, -1]


def test_a_new_item_is_not_sunk_by_lists_that_go_by_clicks():
    retrieved = np.array([7, 1])
    old = blend(0.1, 1.0, 0.0).of(MINE, retrieved)
    new = blend(0.1, 1.0, 0.0, young=(7,)).of(MINE, retrieved)
    assert old.rows.tolist() == [1, 3, 7, 4]
    assert new.rows[0] == 7, "it has its place in retrieval in the list of popularity too"
    np.testing.assert_allclose(new.scores[0], -np.log(2) * 1.1, rtol=1e-6)


def test_a_visitor_without_clicks_and_an_empty_retrieval():
    nobody = Recent(np.zeros(0, np.int64), np.zeros(0, np.float32))
    found = blend(1.0, 1.0, 1.0).of(nobody, np.zeros(0, np.int64))
    assert found.rows.tolist() == [3, 1]
    lowest = -np.log(RETRIEVED + 2) - np.log(2) - np.log(LISTED + 2)
    np.testing.assert_allclose(found.scores[0], lowest, rtol=1e-6)


def recent(*rows: int) -> Recent:
    return Recent(np.array(rows, np.int64), np.ones(len(rows), np.float32))


def with_places(every: int, weight: float = 0.0) -> Blend:
    """Items 20 to 29 are young, and their source weighs next to nothing."""
    table = np.random.default_rng(4).normal(size=(33, 6)).astype(np.float32)
    sources = (MostPopular(np.arange(12)), Young(np.arange(20, 30), table))
    young = np.arange(30) >= 20
    weights = {RETRIEVAL: 1.0, POPULARITY: 0.5, YOUNG_ITEMS: weight}
    return Blend(sources, weights, young, every)


def test_where_new_items_have_places_they_are_candidates_before_all_others():
    mine, near = recent(3, 5), np.array([7, 21, 2, 9])
    plain, placed = (with_places(every).of(mine, near) for every in (0, 10))
    listed = with_places(0).sources[1].best(mine, 150)
    assert placed.rows[:10].tolist() == listed.tolist() and set(listed) == set(range(20, 30))
    assert placed.rows[10:].tolist() == [row for row in plain.rows.tolist() if row < 20]
    # the scores are the same, so that nothing but the cut changes
    assert dict(zip(placed.rows.tolist(), placed.scores.tolist(), strict=True)) == dict(
        zip(plain.rows.tolist(), plain.scores.tolist(), strict=True)
    )
    owed = with_places(10).owed(mine, near, placed.rows)
    assert len(owed.mostly) == len(placed.rows)


def test_no_more_new_items_than_reserved_come_first(monkeypatch):
    monkeypatch.setattr("recsys_assets.lib.sources.blend.RESERVED", 3)
    mine, near = recent(3, 5), np.array([7, 2, 9])
    plain, placed = (with_places(every).of(mine, near) for every in (0, 10))
    first = with_places(0).sources[1].best(mine, 3)
    assert placed.rows[:3].tolist() == first.tolist()
    assert placed.rows[3:].tolist() == [row for row in plain.rows.tolist() if row not in first]


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_without_a_click_the_last_new_items_are_candidates_without_a_score(weight):
    nobody, near = recent(), np.array([7, 2, 9])
    plain, placed = (with_places(every, weight).of(nobody, near) for every in (0, 10))
    assert placed.rows[:10].tolist() == [*range(29, 19, -1)]
    assert placed.rows[10:].tolist() == plain.rows.tolist()
    np.testing.assert_array_equal(placed.scores[10:], plain.scores)
    assert (placed.scores[:10] <= plain.scores.min()).all()
    owed = with_places(10, weight).owed(nobody, near, placed.rows)
    code = ALL_SOURCES.index(YOUNG_ITEMS)
    assert (owed.mostly[:10] == code).all()
    causes = with_places(10, weight).causes(nobody, placed.rows, owed.mostly)
    assert (causes == NO_CAUSE).all()


def test_places_without_the_source_of_new_items_change_no_candidate():
    plain, placed = blend(1.0, 1.0, 1.0), blend(1.0, 1.0, 1.0)
    placed = replace(placed, new_item_places=10)
    mine, near = recent(3), np.array([4, 0])
    np.testing.assert_array_equal(plain.of(mine, near).rows, placed.of(mine, near).rows)
