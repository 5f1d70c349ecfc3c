"""Queries that read the clicks of their rows, and queries as they were before some clicks."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys_assets.lib.evaluation.latest_clicks import LatestClicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.row_clicks import RowClicks, as_before
from recsys_assets_tests.support.row_histories import with_histories
from recsys_assets_tests.support.small_queries import queries

HOUR, DAY = 3_600, 86_400
ITEMS = ["i0", "i1", "i2"]
LOG = pl.DataFrame(
    [("a", "i0", 0), ("a", "gone", 6 * HOUR), ("a", "i1", 9 * HOUR), ("b", "i2", 10 * HOUR)],
    schema=["user_id", "item_id", "timestamp"],
    orient="row",
).with_columns(pl.format("e{}", pl.int_range(pl.len())).alias("event_id"))


def test_the_clicks_of_the_rows_are_those_of_the_log():
    latest = LatestClicks.of(LOG, ITEMS, look_back_days=7)
    frame = pl.DataFrame(
        [("a", 9 * HOUR), ("b", DAY), ("stranger", DAY), ("a", DAY)],
        schema=["user_id", "timestamp"],
        orient="row",
    )
    asked = with_histories(queries([0] * 4, 3, frame=frame, item_ids=ITEMS), latest)
    mine = RowClicks.like(latest)
    rows = np.array([3, 0, 2, 1])
    for found, expected in zip(mine.entries(asked, rows), latest.entries(asked, rows), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    owner, place, ages = mine.entries(asked, rows)
    assert owner.tolist() == [0, 0, 1, 3] and place.tolist() == [0, 1, 0, 2]
    assert ages.tolist() == [24, 15, 9, 14]


def test_a_masked_visitor_and_an_unknown_item_count_nothing():
    mine = RowClicks.like(LatestClicks.of(LOG, ITEMS, look_back_days=7))
    frame = pl.DataFrame(
        {
            "user_id": ["-1", "a", "a"],
            "timestamp": [DAY] * 3,
            "items": [["i0"], ["gone", "never", "i2"], None],
            "ages": [[1.0], [3.0, 2.0, 1.0], None],
        }
    )
    owner, place, ages = mine.entries(
        queries([0] * 3, 3, frame=frame, item_ids=ITEMS), np.arange(3)
    )
    assert (owner.tolist(), place.tolist(), ages.tolist()) == ([1], [2], [1.0])


def test_what_is_popular_now_is_counted_once():
    latest = LatestClicks.of(LOG, ITEMS, look_back_days=7)
    counted = latest.streamed
    assert RowClicks.like(latest).streamed is counted


def asked() -> Queries:
    """Two queries of a visitor: at 0 with three clicks, and 20 hours later with a fourth."""
    frame = pl.DataFrame(
        {
            "user_id": ["a", "a"],
            "timestamp": [30 * DAY, 30 * DAY + 20 * HOUR],
            "device_type": ["mobile", "desktop"],
            "categories": [["x", "x", "y", "z"], ["x", "x", "y", "z", "w"]],
            "items": [["i0", "i1", "i2"], ["i0", "i1", "i2", "i0"]],
            "ages": [[30.0, 4.5, 2.0], [50.0, 24.5, 22.0, 0.5]],
            "top_category": ["y", "w"],
            "clicks_24h": [2.0, 2.0],
            "clicks_look_back": [4.0, 5.0],
            "hours_since_click": [2.0, 0.5],
            "category_clicks_look_back": [1.0, 2.0],
            "category_clicks_24h": [1.0, 1.0],
        },
        schema_overrides=dict.fromkeys(
            ("clicks_24h", "clicks_look_back", "hours_since_click"), pl.Float32
        ),
    )
    return queries([1, 2], 3, users=["a", "a"], seen=[[0], [0, 1]], frame=frame, item_ids=ITEMS)


def test_a_query_as_before_has_the_older_clicks_at_its_own_moment():
    before = as_before(asked(), np.array([1]), np.array([0]))
    row = before.frame.row(0, named=True)
    assert row["timestamp"] == 30 * DAY + 20 * HOUR and row["device_type"] == "desktop"
    assert before.true.tolist() == [2] and before.seen_items.tolist() == [0]
    assert row["categories"] == ["x", "x", "y", "z"] and row["items"] == ["i0", "i1", "i2"]
    assert row["ages"] == [50.0, 24.5, 22.0] and row["clicks_look_back"] == 4
    # of the clicks of a day, the one of 22 hours ago is left
    assert (row["clicks_24h"], row["hours_since_click"], row["top_category"]) == (1.0, 22.0, "z")
    assert row["category_clicks_look_back"] == row["category_clicks_24h"] == 0


def test_the_features_are_those_of_the_row_at_the_same_moment():
    """Without time between them, only the features of the row's own item change."""
    own = asked()
    again = as_before(own, np.arange(2), np.arange(2))
    kept = [name for name in own.frame.columns if not name.startswith("category_clicks")]
    first = own.frame.with_columns(
        # clicks of 24 hours: those of 4.5 and 2 hours, of the categories y and z
        pl.Series("top_category", ["z", "w"])
    )
    assert again.frame.select(kept).equals(first.select(kept))


def test_a_day_of_more_clicks_than_are_kept_keeps_its_number():
    frame = (
        asked()
        .frame[:1]
        .with_columns(
            pl.Series("categories", [["x"] * 70]),
            pl.Series("items", [["i0"] * 50]),
            pl.Series("ages", [[1.0] * 50]),
            pl.Series("clicks_24h", [70.0], dtype=pl.Float32),
            pl.Series("clicks_look_back", [70.0], dtype=pl.Float32),
        )
    )
    own = queries([1], 3, users=["a"], frame=frame.drop("visitor", "simulated_cold"))
    row = as_before(own, np.array([0]), np.array([0])).frame.row(0, named=True)
    assert row["clicks_24h"] == 70 and row["top_category"] == "x"


def test_no_query_is_no_query():
    none = np.zeros(0, np.int64)
    assert len(as_before(asked(), none, none)) == 0
