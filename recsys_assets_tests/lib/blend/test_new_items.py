"""How many places new items get by their share of the held-out clicks, and what that costs."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.lib.blend.new_items import decide
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets_tests.support.small_queries import queries

ITEMS = 200
#: Items of the vocabulary, in another order than the catalogue; the last one left the catalogue.
CATALOGUE = np.append(np.arange(ITEMS)[::-1], -1)
YOUNG = np.append(np.arange(ITEMS)[::-1] >= 190, True)


def clicks(on_new: int, on_others: int):
    true = [190 + n % 10 for n in range(on_new)] + [n % 190 for n in range(on_others)]
    return queries(true, ITEMS)


@pytest.mark.parametrize(
    ("on_new", "on_others", "every", "why"),
    [
        (0, 1_000, 50, "0 of 1,000 held-out clicks are on new items: the least share is one"),
        (20, 980, 50, "the least share"),
        (21, 979, 48, "21 of 1,000 held-out clicks are on new items"),
        (50, 950, 20, "50 of 1,000"),
        (99, 901, 10, "99 of 1,000"),
        (100, 900, 10, "the largest share is one place in 10"),
        (700, 300, 10, "the largest share"),
        (0, 0, 50, "0 of 0"),
    ],
)
def test_the_share_of_the_places_is_that_of_the_clicks(on_new, on_others, every, why):
    found = decide("auto", clicks(on_new, on_others), YOUNG, CATALOGUE)
    assert found.every == every and why in found.figures["why"]
    assert (found.figures["on_new"], found.figures["clicks"]) == (on_new, on_new + on_others)
    np.testing.assert_array_equal(found.young, np.arange(ITEMS) >= 190)


def test_the_setting_decides_where_it_is_not_auto():
    asked = clicks(500, 500)
    off, twelve = (decide(one, asked, YOUNG, CATALOGUE) for one in ("off", 12))
    assert off.every == 0 and "RECSYS_NEW_ITEM_PLACES is off" in off.figures["why"]
    assert twelve.every == 12 and "RECSYS_NEW_ITEM_PLACES is 12" in twelve.figures["why"]


def test_cost_and_gain_by_hand():
    asked = queries([190, 0, 1], ITEMS, users=["a", "b", "b"])
    found = decide("auto", asked, YOUNG, CATALOGUE)
    # the click on a new item comes from place 80 to 10; of the others, one falls out of the ten
    top = np.tile(np.arange(10), (3, 1)).astype(np.int32)
    before = Lists(np.array([80, 1, 10]), top)
    moved = top.copy()
    moved[:, 9] = 190
    after = Lists(np.array([10, 1, 11]), moved)
    figures = found.measured(before, after, asked, seed=7)
    at_ten = 1 / np.log2(11)
    assert figures["ndcg"]["without"] == pytest.approx((0 + (1 + at_ten) / 2) / 2)
    assert figures["ndcg"]["places"] == pytest.approx((at_ten + 1 / 2) / 2)
    assert figures["difference"]["value"] == pytest.approx(at_ten / 4)
    assert figures["recall"] == {"without": 0.0, "places": 1.0}
    assert figures["exposure"] == {"without": 0.0, "places": pytest.approx(0.1)}
    nothing = decide("auto", clicks(0, 3), YOUNG, CATALOGUE)
    assert nothing.measured(before, after, clicks(0, 3), 7)["recall"] is None
