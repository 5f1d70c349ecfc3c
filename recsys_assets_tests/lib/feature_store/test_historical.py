"""Feast's point-in-time retrieval against the training rows, on the real DuckDB."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from feature_repo.apply import apply_features
from recsys_assets.lib.feature_store.historical import historical_features
from recsys_assets.lib.feature_store.offline import write_offline
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.lib.feature_store.views import FeatureStoreError
from recsys_assets.lib.features.activity import RECENT_CLICKS
from recsys_assets.partitions import day_bounds
from recsys_assets.settings import Settings
from recsys_assets_tests.support.small_history import DAYS, write_history

ENTITY = ["user_id", "item_id", "timestamp"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: Any) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("history")
    settings = Settings(home=folder / "home")
    rows = write_history(settings, folder / "landing")
    store = open_store(settings)
    apply_features(store, settings)
    return SimpleNamespace(settings=settings, store=store, rows=rows)


def test_it_agrees_with_the_training_rows(shop: SimpleNamespace) -> None:
    asked = shop.rows.sample(
        1_500, seed=3, shuffle=True
    )  # in no order, repeated moments among them
    found = historical_features(shop.store, asked.select(ENTITY), look_back_days=7)
    # the comparison covers filled values
    midnight = [day_bounds(day)[0] for day in DAYS[1:]]
    assert asked.filter(pl.col("timestamp").is_in(midnight)).height > 3
    assert asked.select("user_id", "timestamp").is_duplicated().sum() > 100
    assert (
        (asked["top_category"] == "-1").any()
        and asked["clicks_24h"].max() > 5
        and asked["item_clicks"].max() > 3
    )
    assert (asked["gender"] == "-1").any() and asked["age"].is_null().any()
    assert_frame_equal(found, asked.select(found.columns), check_exact=True)
    assert set(found.columns) == set(asked.columns) - {"event_id", "device_type", "click"}


def test_the_same_row_twice_is_two_rows(shop: SimpleNamespace) -> None:
    row = shop.rows.filter(pl.col("clicks_24h") > 1)[:1]
    found = historical_features(shop.store, pl.concat([row, row]).select(ENTITY), look_back_days=7)
    assert_frame_equal(found, pl.concat([row, row]).select(found.columns))


def test_who_and_what_is_unknown_keeps_its_row(shop: SimpleNamespace) -> None:
    noon = day_bounds(DAYS[2])[0] + 43_200
    asked = pl.DataFrame({"user_id": ["nobody"], "item_id": ["nothing"], "timestamp": [noon]})
    (row,) = historical_features(shop.store, asked, look_back_days=7).to_dicts()
    assert row == {
        "user_id": "nobody",
        "item_id": "nothing",
        "timestamp": noon,
        "age": None,
        "gender": "-1",
        "top_category": "-1",
        "category_l1": None,
        "category_l2": None,
        "item_gender": None,
        "price": None,
        "clicks_24h": 0.0,
        "hours_since_click": 24.0,
        "item_clicks": 0.0,
        "clicks_look_back": 0.0,
        "category_clicks_look_back": 0.0,
        "category_clicks_24h": 0.0,
    }


def test_a_missing_column_is_named(shop: SimpleNamespace) -> None:
    with pytest.raises(FeatureStoreError, match="column item_id, timestamp is missing"):
        historical_features(shop.store, pl.DataFrame({"user_id": ["1"]}), look_back_days=7)


def test_a_click_pushes_none_out_before_it_happened(tmp_path: Path) -> None:
    """At the cap, a click of the same second displaces one earlier click from the state."""
    settings, start, now = (
        Settings(home=tmp_path),
        day_bounds(DAYS[0])[0],
        day_bounds(DAYS[0])[0] + 5_000,
    )
    times = list(range(now - RECENT_CLICKS, now + 1))
    states = [(times[:-1], now - 1), (times[1:], now)]
    activity = pl.DataFrame(
        [
            {
                "user_id": "1",
                "timestamp": at,
                "recent_timestamps": clicked,
                "recent_categories": ["books"] * len(clicked),
                "recent_items": ["a"] * len(clicked),
            }
            for clicked, at in states
        ]
    )
    users = pl.DataFrame({"user_id": ["1"], "age": [30], "gender": ["F"]})
    items = pl.DataFrame(
        {
            "item_id": ["a"],
            "price": [1.0],
            "category_l1": ["books"],
            "category_l2": ["novel"],
            "item_gender": ["Any"],
        }
    )
    popularity = pl.DataFrame(
        {"item_id": ["a"], "item_clicks": [1.0], "timestamp": [start + 86_400]}
    )
    write_offline(settings, users, items, activity, popularity, start)
    store = open_store(settings)
    apply_features(store, settings)
    found = historical_features(
        store,
        pl.DataFrame({"user_id": "1", "item_id": "a", "timestamp": [now, now + 1]}),
        look_back_days=7,
    )
    assert found["clicks_24h"].to_list() == [RECENT_CLICKS, RECENT_CLICKS]
