"""The source of what is popular now: the list of the moment, and rows of item ids."""

from __future__ import annotations

import numpy as np

from recsys_assets.lib.sources.popular_now import PopularNow, digests
from recsys_assets.lib.sources.recent import Recent

IDS = [f"item-{n}" for n in range(300)] + ["ítem:20", "x" * 128]


def test_the_moments_list_is_the_source():
    source = PopularNow.of(12, IDS)
    mine = np.zeros(0, np.int64), np.zeros(0, np.float32)
    assert source.best(Recent(*mine, {12: np.array([4, 2, 9])}), 2).tolist() == [4, 2]
    assert source.best(Recent(*mine, {3: np.array([4])}), 2).tolist() == [], "another half-life"
    assert source.best(Recent(*mine), 2).tolist() == []


def test_every_item_has_its_row():
    source, order = PopularNow.of(12, IDS), np.random.default_rng(1).permutation(len(IDS))
    asked = [IDS[n] for n in order]
    assert source.listed(asked, -np.arange(len(IDS))).tolist() == order.tolist()
    assert len(set(digests(IDS).tolist())) == len(IDS)


def test_equal_counts_are_in_the_order_of_rows_and_unknown_items_are_left_out():
    source = PopularNow.of(12, IDS)
    found = source.listed(["item-9", "gone", "item-2", "item-5"], np.array([1.0, 9.0, 1.0, 2.0]))
    assert found.tolist() == [5, 2, 9]
    assert source.listed([], np.zeros(0)).tolist() == []
    assert PopularNow.of(12, []).listed(["a"], np.ones(1)).tolist() == []
