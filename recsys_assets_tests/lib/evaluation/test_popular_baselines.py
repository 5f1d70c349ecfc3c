"""Random order, and popularity by day and by the second, by hand."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys_assets.columns import TIMESTAMP
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.popular_baselines import (
    RandomOrder,
    RecentPopularity,
    StreamedPopularity,
)
from recsys_assets_tests.support import small_clicks


def test_recent_popularity_counts_the_days_before():
    log = ClickLog.of(
        small_clicks.interactions(
            [("ann", "a", 1), ("bob", "a", 2), ("bob", "b", 3), ("cat", "b", 4)]
        ),
        ["a", "b"],
    )
    asked = small_clicks.queries([("ann", "a", 3), ("bob", "a", 5)], ["a", "b"])
    found = RecentPopularity(log, window=2, half_life=1.0).scores(asked, np.arange(2))
    assert found.tolist() == [[1.5, 0.0], [0.0, 1.5]]


def test_random_order_belongs_to_the_query_and_the_seed():
    asked = small_clicks.queries(
        [("ann", "i0", 3), ("ann", "i0", 3), ("bob", "i1", 3)], small_clicks.ITEMS
    )
    drawn = RandomOrder(len(small_clicks.ITEMS), 7)
    whole = drawn.scores(asked, np.arange(3))
    np.testing.assert_array_equal(drawn.scores(asked, np.array([2])), whole[2:])
    assert (np.argsort(whole[0]) != np.argsort(whole[1])).any()
    assert (RandomOrder(len(small_clicks.ITEMS), 8).scores(asked, np.arange(3)) != whole).any()


def test_streamed_popularity_counts_the_clicks_of_the_day_so_far():
    frame = small_clicks.interactions([("ann", "a", 1), ("bob", "b", 1), ("cat", "b", 1)])
    hours = frame.with_columns(pl.Series(TIMESTAMP, [0, 3_600, 7_200]))
    asked = small_clicks.queries([("ann", "a", 1), ("bob", "b", 1)], ["a", "b"])
    asked.frame.replace_column(
        asked.frame.get_column_index(TIMESTAMP), pl.Series(TIMESTAMP, [3_600, 7_201])
    )
    popular = StreamedPopularity(ClickLog.of(hours, ["a", "b"]), half_life=1.0)
    found = popular.scores(asked, np.arange(2))
    np.testing.assert_allclose(found, [[0.5, 0.0], [0.25, 1.5]], rtol=1e-3)
