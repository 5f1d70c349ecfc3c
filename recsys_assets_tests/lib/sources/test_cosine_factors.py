"""The source of item-to-item against sums by hand."""

from __future__ import annotations

import numpy as np

from recsys_assets.lib.sources.cosine_factors import CosineFactors
from recsys_assets.lib.sources.recent import Recent

#: Popularity and two factors of five items; the last has no click.
VECTORS = np.array([[1, 1, 0], [0.5, 0.5, 0.5], [0.2, 0, 2], [0.1, -1, 0], [0, 0, 0]], np.float32)
SOURCE = CosineFactors(VECTORS, popularity=0.5, half_life=10.0)
ALL = np.arange(5)


def recent(*clicks: tuple[int, float]) -> Recent:
    """Clicks (row, hours ago), newest first."""
    return Recent(
        np.array([row for row, _ in clicks], np.int64),
        np.array([age for _, age in clicks], np.float32),
    )


def test_clicks_and_popularity_add_up():
    # item 0 now, item 2 ten hours ago: (1, 0) + (0, 2) / 2 = (1, 1)
    # 0: .5 + 1; 1: .25 + 1; 2: .1 + 2; 3: .05 - 1; 4: 0
    found = SOURCE.best(recent((0, 0.0), (2, 10.0)), 9)
    assert found.tolist() == [2, 0, 1] and found.dtype == np.int64
    assert SOURCE.best(recent((0, 0.0), (2, 10.0)), 1).tolist() == [2]


def test_clicks_fade_by_their_own_age_until_popularity_is_left():
    # thirty hours later an eighth is left, (.125, .125): 0: .625; 1: .375; 2: .35; 3: -.075
    assert SOURCE.best(recent((0, 30.0), (2, 40.0)), 9).tolist() == [0, 1, 2]
    # after a month, the clicks weigh nothing
    assert SOURCE.best(recent((2, 720.0)), 9).tolist() == [0, 1, 2, 3]


def test_each_click_on_an_item_counts():
    # (0, 2) twice, ten hours ago: (0, 2) in all; item 1: .25 + 1 is above item 0: .5
    assert SOURCE.best(recent((2, 10.0), (2, 10.0)), 9).tolist() == [2, 1, 0, 3]
    # once: item 1: .25 + .5 is still above it; at a quarter, .25 + .25 ties, and the first row wins
    assert SOURCE.best(recent((2, 10.0)), 2).tolist() == [2, 1]
    assert SOURCE.best(recent((2, 20.0)), 2).tolist() == [2, 0]


def test_a_visitor_without_clicks_gets_no_second_list_of_popular_items():
    found = SOURCE.best(recent(), 9)
    assert found.tolist() == [] and found.dtype == np.int64
    assert SOURCE.cause(recent(), ALL).tolist() == [-1] * 5


def test_the_cause_is_the_item_that_adds_most_and_popularity_is_none():
    # item 0 adds 1 to itself and .5 to item 1; item 2, at a half, adds .5 to 1 and 2 to itself
    assert SOURCE.cause(recent((0, 0.0), (2, 10.0)), ALL).tolist() == [0, 0, 2, -1, -1]
    # item 2 twice adds 1 to item 1
    assert SOURCE.cause(recent((0, 0.0), (2, 10.0), (2, 10.0)), ALL).tolist() == [0, 2, 2, -1, -1]
    # item 3 takes from items 0 and 1, and adds to itself alone
    assert SOURCE.cause(recent((3, 0.0)), ALL).tolist() == [-1, -1, -1, 3, -1]
    assert SOURCE.cause(recent((0, 0.0)), ALL[:0]).tolist() == []


def test_the_arrays_are_not_changed():
    before = VECTORS.copy()
    frozen = VECTORS.copy()
    frozen.flags.writeable = False  # as a file that is mapped into memory
    CosineFactors(frozen, 0.5, 10.0).best(recent((0, 0.0)), 9)
    np.testing.assert_array_equal(frozen, before)
