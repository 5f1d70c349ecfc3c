"""Test the ids that keep the order within a second."""

from __future__ import annotations

import polars as pl

from recsys_assets.lib.landing.event_ids import in_order, own_id


def test_ids_sort_by_time_within_the_second_and_lead_back_to_their_own():
    events = pl.DataFrame({"id": ["z", "a", "m", "~b"], "micros": [0, 999_999, 5, 0]})
    ids = events.select(in_order(pl.col("id"), pl.col("micros"))).to_series()
    assert ids.to_list() == ["z", "~999999~a", "~000005~m", "~b"]
    assert ids.filter(pl.Series([True, True, True, False])).sort().to_list() == [
        "z",
        "~000005~m",
        "~999999~a",
    ]
    assert pl.DataFrame({"id": ids}).select(own_id(pl.col("id")))["id"].to_list() == [
        "z", "a", "m", "~b",
    ]  # fmt: skip
