"""Which rung is chosen, and what the next one lacks."""

from __future__ import annotations

import pytest

from recsys_assets.lib.ladder import rungs
from recsys_assets.lib.ladder.rungs import (
    MINIMUM_QUERIES,
    TRAINING_CLICKS,
    VALIDATION_CLICKS,
    WindowClicks,
    full_rung,
    simple_rung,
)
from recsys_assets.lib.release.rung import OLDER, described, read_rung

ENOUGH = WindowClicks(TRAINING_CLICKS, VALIDATION_CLICKS, 9, 3, 300, True)


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def test_the_better_rung_on_held_out_clicks_is_chosen():
    better = simple_rung(estimate(0.01), 200, ENOUGH)
    assert better["name"] == "item_to_item" and "+0.0100" in better["why"]
    assert better["next"] == {"name": "full", "lacks": []}
    worse = simple_rung(estimate(-0.01), 200, ENOUGH)
    assert worse["name"] == "popularity" and worse["next"]["name"] == "item_to_item"


@pytest.mark.parametrize("queries", [0, MINIMUM_QUERIES - 1])
def test_too_few_clicks_keep_popularity_and_say_how_many_are_lacking(queries):
    rung = simple_rung(estimate(0.5) if queries else None, queries, ENOUGH)
    assert rung["name"] == "popularity" and str(queries) in rung["why"]
    assert str(MINIMUM_QUERIES - queries) in rung["next"]["lacks"][0]


def test_a_small_window_says_what_the_full_models_lack():
    tiny = WindowClicks(360, 120, 9, 3, 80, False)
    (lacking,) = tiny.lacking
    assert "640 clicks" in lacking and "RECSYS_TRAIN_DAYS" in lacking and "360" in lacking
    rung = simple_rung(estimate(0.1), 100, tiny)
    assert rung["next"]["lacks"] == [
        lacking,
        "no row names a device, so lists cannot change with it",
    ]
    assert not ENOUGH.lacking and not ENOUGH.notes


def test_validation_days_without_clicks_are_named():
    lacking = WindowClicks(5_000, 0, 9, 3, 80, True).lacking
    assert len(lacking) == 1 and "RECSYS_VALIDATION_DAYS" in lacking[0]


def test_the_full_rung_names_what_it_was_compared_with():
    assert "full − item_to_item is +0.0200" in full_rung(estimate(0.02), 900, "item_to_item")["why"]
    assert "too few" in full_rung(None, 3, "popularity")["why"]


def test_releases_of_before_are_full():
    assert read_rung({}) == OLDER and OLDER["name"] == "full"
    rung = simple_rung(None, 0, ENOUGH)
    assert read_rung({"rung": rung}) == rung
    assert described(rung).startswith("popularity (0 held-out clicks") and "lacks" in described(
        rung
    )


def test_the_fusion_is_chosen_where_it_is_better():
    simple = {"name": "item_to_item", "why": "clicks", "next": {"name": "full", "lacks": []}}
    window = rungs.WindowClicks(2_000, 200, 9, 3, 50, True)
    better = rungs.fusion_rung(simple, estimate(0.01), 500, window, "ranks")
    assert better["name"] == "fusion" and better["next"] == {"name": "full", "lacks": []}
    assert "fusion − item_to_item is +0.0100" in better["why"]
    worse = rungs.fusion_rung(simple, estimate(-0.01), 500, window, "ranks")
    assert worse["name"] == "item_to_item" and "fusion − item_to_item is -0.0100" in worse["why"]
    none = rungs.fusion_rung(simple, None, 500, window, "10 held-out clicks are too few")
    assert none["next"] == {"name": "fusion", "lacks": ["10 held-out clicks are too few"]}
