"""Places of a list for new items: how many, where, for which items."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.lib.ranking.ordering import capped
from recsys_assets.lib.ranking.places import NewItemPlaces, reserved, turn, with_places

AT = 1_760_000_000


@pytest.mark.parametrize("every", [10, 11, 23, 37, 50])
@pytest.mark.parametrize("length", [1, 5, 10, 14, 30, 100])
def test_over_all_turns_one_place_in_every_so_many_is_reserved(length, every):
    found = [reserved(length, every, n) for n in range(every)]
    assert sum(map(len, found)) == length
    for places in found:
        assert places == sorted(set(places)) and all(1 <= place <= length for place in places)
        assert all(place % 10 == 0 or place == length for place in places)
        # never more than half a place from the share
        assert abs(len(places) - length / every) < 1
        parts = [(place - 1) // 10 for place in places]
        assert len(set(parts)) == len(parts)


def test_the_most_frequent_places_are_the_last_of_every_ten():
    for number in range(10):
        assert reserved(40, 10, number) == [10, 20, 30, 40]
    assert reserved(0, 10, 3) == []
    assert [n for n in range(50) if reserved(10, 50, n)] == [*range(40, 50)]


def test_a_visitor_has_the_same_turn_for_an_hour_and_visitors_differ():
    hour = AT // 3600 * 3600
    assert turn("ann", hour, 50) == turn("ann", hour + 3599, 50)
    assert len({turn("ann", hour + 3600 * n, 50) for n in range(300)}) > 40
    counts = np.bincount([turn(f"user-{n}", AT, 50) for n in range(20_000)], minlength=50)
    assert counts.min() > 300 and counts.max() < 500
    assert 0 <= turn("\ud800 ü", AT, 10) < 10, "an id that no text encoding has"


def test_a_list_gets_the_places_of_its_own_length():
    places = NewItemPlaces(10, np.zeros(3, bool), length=25)
    assert places.ends("ann", AT) in ([10, 20, 25], [10, 20])
    assert places.ends("ann", AT, 20) == [10, 20]
    assert NewItemPlaces(50, np.zeros(3, bool)).ends("ann", AT, 50).__len__() == 1


@pytest.mark.parametrize(
    ("order", "young", "places", "expected"),
    [
        # from outside the list: the last item leaves
        ([0, 1, 2, 3], [9, 8], [4], [0, 1, 2, 9]),
        ([0, 1, 2, 3], [9, 8], [2, 4], [0, 9, 1, 8]),
        # from the list: the items between move down, and none leaves
        ([0, 1, 2, 3, 4], [3], [2], [0, 3, 1, 2, 4]),
        # the best is above already: it counts, and the next one gets the second place
        ([9, 1, 2, 3], [9, 8], [2, 4], [9, 1, 2, 8]),
        # enough are above
        ([9, 8, 2, 3], [9, 8, 7], [2, 4], [9, 8, 2, 3]),
        # no further young item: the first place has it, the second stays
        ([0, 1, 2, 3], [9], [2, 4], [0, 9, 1, 2]),
        ([0, 1, 2, 3], [], [2, 4], [0, 1, 2, 3]),
        ([0, 1, 2, 3], [9], [], [0, 1, 2, 3]),
    ],
)
def test_places_by_hand(order, young, places, expected):
    given = np.array(order)
    found = with_places(given, np.array(young, np.int64), places)
    assert found.tolist() == expected and given.tolist() == order
    assert (found is given) == (order == expected)


def test_any_list_keeps_its_length_its_first_items_and_each_item_once():
    random = np.random.default_rng(3)
    for _ in range(2_000):
        size = int(random.integers(1, 60))
        positions = random.permutation(120)
        order, fresh = positions[:size], random.random(120) < random.choice([0, 0.02, 0.1, 0.5])
        young = positions[fresh[positions]]  # best first, listed or not
        every = int(random.integers(10, 51))
        places = reserved(size, every, int(random.integers(every)))
        found = with_places(order, young, places)
        assert len(found) == size == len(set(found.tolist()))
        first = places[0] - 1 if places else size
        np.testing.assert_array_equal(found[:first], order[:first])
        # the others keep their order
        old = [one for one in order.tolist() if not fresh[one]]
        kept = [one for one in found.tolist() if not fresh[one]]
        assert kept == old[: len(kept)]
        for wanted, place in enumerate(places, start=1):
            assert fresh[found[:place]].sum() >= min(wanted, fresh.sum())
        np.testing.assert_array_equal(with_places(found, young, places), found)


@pytest.mark.parametrize(
    ("cap", "expected"),
    [
        (0, [0, 1, 2, 9, 3]),
        # category 1 of item 9 has two: the last of them leaves
        (2, [0, 1, 2, 9, 3]),
        # category 1 has its only one above the place: the next young item is of category 3
        (1, [0, 1, 2, 8, 3]),
    ],
)
def test_a_cap_by_hand(cap, expected):
    categories = np.zeros(10, int)
    categories[[0, 9]] = 1
    categories[[1, 2, 3]] = [2, 4, 5]
    categories[8] = 3
    order = np.array([0, 1, 2, 3, 4])
    if cap == 2:
        categories[4] = 1
    assert with_places(order, np.array([9, 8]), [4], categories, cap).tolist() == expected


def test_no_category_grows_beyond_its_cap():
    random, moved = np.random.default_rng(5), 0
    for _ in range(500):
        categories, cap = random.integers(0, 8, 80), int(random.integers(1, 5))
        order = capped(random.permutation(80), categories, cap)[:20]
        young = random.permutation(80)[:12]
        places = reserved(20, 10, int(random.integers(10)))
        found = with_places(order, young, places, categories, cap)
        assert len(set(found.tolist())) == len(order)
        before, after = (np.bincount(categories[one], minlength=8) for one in (order, found))
        assert (after <= np.maximum(before, cap)).all()
        moved += found is not order
    assert moved > 50
