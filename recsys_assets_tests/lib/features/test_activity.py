"""Test the click features that training and serving share."""

import doctest
from random import Random

import pytest

from recsys_assets.lib.features import activity as module
from recsys_assets.lib.features.activity import (
    RECENT_CLICKS,
    WINDOW_SECONDS,
    activity_features,
    history,
    top_category,
    visitor_activity,
)

NOW = 1_000_000
DAY = 86_400


def test_the_window_is_closed_at_its_start_and_open_at_the_moment():
    edges = [NOW - WINDOW_SECONDS - 1, NOW - WINDOW_SECONDS, NOW - 1, NOW, NOW + 1]
    assert activity_features(["old", "first", "last", "now", "next"], edges, NOW) == (
        "last",
        2.0,
        1 / 3_600,
    )
    assert activity_features(["first"], [NOW - WINDOW_SECONDS], NOW) == ("first", 1.0, 24.0)
    assert activity_features(["old", "now"], [edges[0], NOW], NOW) == ("-1", 0.0, 24.0)
    assert activity_features([], [], NOW) == ("-1", 0.0, 24.0)


def test_ties_go_to_the_last_click_and_then_to_the_first_name():
    assert top_category(["b", "a", "b", "a"], [NOW - 9, NOW - 8, NOW - 7, NOW - 6], NOW) == "a"
    assert top_category(["b", "a"], [NOW - 5, NOW - 5], NOW) == "a"


def test_only_the_latest_clicks_count():
    categories = ["early"] * RECENT_CLICKS + ["late"] * 101 + ["now"]
    timestamps = [NOW - 1_000 + n for n in range(301)] + [NOW]
    assert activity_features(categories, timestamps, NOW) == ("late", 200.0, (1_000 - 300) / 3_600)


def test_the_history_s_windows_are_closed_at_their_starts_and_open_at_the_moment():
    edges = [
        NOW - 7 * DAY - 1,
        NOW - 7 * DAY,
        NOW - WINDOW_SECONDS - 1,
        NOW - WINDOW_SECONDS,
        NOW - 1,
        NOW,
    ]
    assert history(
        ["old", "first", "week", "day", "last", "now"], edges, NOW, look_back_days=7
    ) == (["first", "week", "day", "last"], 2)
    assert (
        history(["old", "now"], [edges[0], NOW], NOW, look_back_days=7)
        == history([], [], NOW, look_back_days=7)
        == ([], 0)
    )


@pytest.mark.parametrize(("look_back_days", "counted"), [(2, ["new"]), (30, ["mid", "new"])])
def test_the_history_covers_the_look_back(look_back_days, counted):
    clicks = ["old", "mid", "new"], [NOW - 31 * DAY, NOW - 10 * DAY, NOW - DAY - 1], NOW
    assert history(*clicks, look_back_days=look_back_days) == (counted, 0)
    assert visitor_activity(*clicks, look_back_days=look_back_days) == ("-1", 0.0, 24.0, counted)


def test_only_the_latest_clicks_are_history():
    """Only the latest 200 clicks count, even if older ones are within the week."""
    categories = ["early"] * 150 + ["late"] * 180 + ["now"]
    timestamps = (
        [NOW - WINDOW_SECONDS - 500 + n for n in range(150)]
        + [NOW - 180 + n for n in range(180)]
        + [NOW]
    )
    assert history(categories, timestamps, NOW, look_back_days=7) == (
        ["early"] * 20 + ["late"] * 180,
        180,
    )
    assert (
        history(categories, timestamps, NOW, look_back_days=7)[1]
        == activity_features(categories, timestamps, NOW)[1]
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_visitors_activity_is_features_and_history(seed):
    """Unordered lists count too: only the store guarantees the order."""
    random = Random(seed)
    clicks = random.randrange(300)
    categories = random.choices(["books", "tools", "beauty"], k=clicks)
    timestamps = [
        NOW + random.randint(-9 * 86_400, 9) if seed % 2 else NOW - 3_000 * (clicks - n)
        for n in range(clicks)
    ]
    features, (remembered, clicks_24h) = (
        activity_features(categories, timestamps, NOW),
        history(categories, timestamps, NOW, look_back_days=7),
    )
    assert (
        visitor_activity(categories, timestamps, NOW, look_back_days=7) == (*features, remembered)
        and features[1] == clicks_24h
    )


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        activity_features(["a"], [], NOW)


def test_docstring_examples_run():
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted == 8
