"""Clicks in one order, offline and online."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.lib.feature_store.recent_clicks import Click, in_order
from recsys_assets.lib.features.click_ranges import ClickRanges


def test_the_clicks_of_a_second_are_in_the_order_of_the_online_store() -> None:
    """Lines of an order share a second; the store has no event ids that would order them."""
    rng = np.random.default_rng(3)
    items = [f"item-{n}" for n in rng.permutation(40)]
    shelf = {item: f"category-{rng.integers(5)}" for item in items}
    times = rng.integers(0, 4, 40).tolist()
    clicks = [Click(shelf[item], item, at) for item, at in zip(items, times, strict=True)]
    frame = pl.DataFrame(
        {
            c.EVENT_ID: [f"e{n}" for n in rng.permutation(40)],
            c.USER_ID: ["ann"] * 40,
            c.ITEM_ID: [click.item for click in clicks],
            c.TIMESTAMP: [click.at for click in clicks],
            c.CATEGORY_L1: [click.category for click in clicks],
        }
    )
    ranges = ClickRanges.of(frame, 0, 10, 10)
    ordered = ranges.items.gather(ranges.item).to_list()
    assert ordered == [click.item for click in in_order(clicks)]
    assert ordered == ClickRanges.of(frame[::-1], 0, 10, 10).items.gather(ranges.item).to_list()
