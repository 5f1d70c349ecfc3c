"""The merge of live clicks with those online, against counting by hand and with clicks drawn at
random.
"""

from __future__ import annotations

import doctest
import random
from collections import Counter

import pytest

from recsys_assets.lib.feature_store import click_history
from recsys_assets.lib.feature_store.click_history import merged
from recsys_assets.lib.feature_store.recent_clicks import Click, RecentClicks
from recsys_assets.lib.features.activity import RECENT_CLICKS

NOW = 1_790_000_000


def live(*clicks: tuple[str, str, int], updates: int = 1) -> RecentClicks:
    categories, items, timestamps = map(list, zip(*clicks, strict=True))
    return RecentClicks("1", categories, items, timestamps, timestamps[-1] + updates / 1e6)


def clicks_of(row: RecentClicks) -> list[Click]:
    return list(map(Click, row.categories, row.items, row.timestamps))


def stored(*clicks: tuple[str, str, int]) -> list[Click]:
    return [Click(*click) for click in clicks]


def test_the_example() -> None:
    assert doctest.testmod(click_history).failed == 0


def test_equal_clicks_count_as_often_as_one_side_has_them() -> None:
    row = merged(
        live(("books", "b", NOW - 9), ("tools", "t", NOW - 5), ("tools", "t", NOW - 5)),
        stored(
            ("tools", "t", NOW - 5),
            ("books", "b", NOW - 9),
            ("books", "b", NOW - 9),
            ("books", "b", NOW - 7),
        ),
        NOW,
        look_back_days=7,
    )
    assert clicks_of(row) == [
        ("books", "b", NOW - 9),
        ("books", "b", NOW - 9),
        ("books", "b", NOW - 7),
        ("tools", "t", NOW - 5),
        ("tools", "t", NOW - 5),
    ]


def test_clicks_of_one_second_on_two_items_of_a_category_are_two() -> None:
    row = merged(
        live(("books", "b2", NOW - 5)),
        stored(("books", "b1", NOW - 5), ("art", "z", NOW - 5)),
        NOW,
        look_back_days=7,
    )
    assert clicks_of(row) == [
        ("books", "b1", NOW - 5),
        ("books", "b2", NOW - 5),
        ("art", "z", NOW - 5),
    ]


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        # the row was written before rows had items
        (["t1"], [""], ["t1"]),
        (["t1"], ["", ""], ["", "t1"]),
        (["t1", "t2"], [""], ["t1", "t2"]),
        # the first of two clicks was merged into such a row already
        (["t1"], ["", "t1"], ["", "t1"]),
        (["t1", "t2"], ["", "t1"], ["t1", "t2"]),
        # the views are of the older form
        ([""], ["t1"], ["t1"]),
        (["", ""], ["t1"], ["", "t1"]),
        ([""], ["t1", "t2"], ["t1", "t2"]),
        (["", "t2"], ["t1"], ["t1", "t2"]),
        ([""], [""], [""]),
    ],
)
def test_a_click_that_one_side_has_without_its_item_counts_once(
    here: list[str], there: list[str], expected: list[str]
) -> None:
    at = NOW - 5
    row = merged(
        live(*(("tools", item, at) for item in here)),
        stored(*(("tools", item, at) for item in there)),
        NOW,
        look_back_days=7,
    )
    assert row.items == expected and row.timestamps == [at] * len(expected)
    again = merged(
        live(*(("tools", item, at) for item in here)), clicks_of(row), NOW, look_back_days=7
    )
    assert again.items == expected


def test_a_click_without_its_item_equals_none_of_another_second_or_category() -> None:
    row = merged(
        live(("tools", "t", NOW - 5)),
        stored(("tools", "", NOW - 6), ("toys", "", NOW - 5)),
        NOW,
        look_back_days=7,
    )
    assert clicks_of(row) == [
        ("tools", "", NOW - 6),
        ("toys", "", NOW - 5),
        ("tools", "t", NOW - 5),
    ]


def test_the_window_begins_seven_days_ago() -> None:
    edge = NOW - 7 * 86_400
    for item in ("i", ""):
        row = merged(
            live(("toys", "y", NOW - 1)),
            stored(("tools", item, edge - 1), ("books", item, edge)),
            NOW + 0.9,
            look_back_days=7,
        )
        assert clicks_of(row) == [("books", item, edge), ("toys", "y", NOW - 1)]


def test_only_the_latest_are_kept() -> None:
    there = stored(*((f"c{n}", f"i{n}", NOW - 1_000 + n) for n in range(RECENT_CLICKS)))
    row = merged(
        live(("late", "x", NOW - 2_000), ("live", "y", NOW - 1)), there, NOW, look_back_days=7
    )
    assert (
        clicks_of(row) == [*there[1:], ("live", "y", NOW - 1)]
        and len(row.timestamps) == RECENT_CLICKS == 200
    )


def test_a_row_is_newer_with_each_update_and_never_older_than_its_newest_click() -> None:
    there = stored(("books", "b", NOW - 5))
    for updates in (
        1,
        2,
        999_999,
    ):  # exact to the microsecond, in which a push is told from another
        late = merged(live(("tools", "t", NOW - 90), updates=updates), there, NOW, look_back_days=7)
        assert round(late.updated_at * 1e6) == (NOW - 5) * 10**6 + updates
    assert (
        merged(live(("tools", "t", NOW - 3)), there, NOW, look_back_days=7).updated_at
        == NOW - 3 + 1e-6
    )


def test_the_row_of_a_reset_visitor_replaces_what_is_stored() -> None:
    row = live(("tools", "t", NOW - 3))._replace(whole=True)
    assert merged(row, stored(("books", "b", NOW - 5)), NOW, look_back_days=7) is row


def test_repeating_a_merge_or_changing_the_order_makes_no_difference() -> None:
    rng = random.Random(4)

    def some(most: int) -> list[Click]:
        drawn = [
            Click(rng.choice("ab"), rng.choice(["", "x", "y"]), NOW - rng.randrange(6))
            for _ in range(rng.randrange(1, most))
        ]
        return sorted(drawn, key=lambda click: click.at)

    for _ in range(500):
        there, first = some(12), live(*some(6))
        second = live(*sorted([*clicks_of(first), *some(6)], key=lambda click: click.at), updates=2)
        once = merged(first, there, NOW, look_back_days=7)
        assert merged(first, clicks_of(once), NOW, look_back_days=7) == once
        whole = merged(second, clicks_of(once), NOW, look_back_days=7)
        assert whole == merged(second, there, NOW, look_back_days=7)  # the first push was lost
        assert Counter(
            clicks_of(merged(first, clicks_of(whole), NOW, look_back_days=7))
        ) == Counter(clicks_of(whole))  # or came too late
