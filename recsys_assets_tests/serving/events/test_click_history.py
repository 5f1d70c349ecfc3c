"""The merge of live clicks with those online, against counting by hand and with clicks drawn at
random.
"""

from __future__ import annotations

import doctest
import random
from collections import Counter

from recsys_assets.lib.feature_store.recent_clicks import RecentClicks
from recsys_assets.lib.features.activity import HISTORY_SECONDS, RECENT_CLICKS
from recsys_assets.serving.events import click_history
from recsys_assets.serving.events.click_history import merged

NOW = 1_790_000_000


def live(*clicks: tuple[str, int], updates: int = 1) -> RecentClicks:
    return RecentClicks(
        "1", [name for name, _ in clicks], [at for _, at in clicks], clicks[-1][1] + updates / 1e6
    )


def pairs(row: RecentClicks) -> list[tuple[str, int]]:
    return list(zip(row.categories, row.timestamps, strict=True))


def test_the_example() -> None:
    assert doctest.testmod(click_history).failed == 0


def test_equal_clicks_count_as_often_as_one_side_has_them() -> None:
    row = merged(
        live(("books", NOW - 9), ("tools", NOW - 5), ("tools", NOW - 5)),
        [("tools", NOW - 5), ("books", NOW - 9), ("books", NOW - 9), ("books", NOW - 7)],
        NOW,
    )
    assert pairs(row) == [
        ("books", NOW - 9),
        ("books", NOW - 9),
        ("books", NOW - 7),
        ("tools", NOW - 5),
        ("tools", NOW - 5),
    ]


def test_the_window_begins_seven_days_ago() -> None:
    edge = NOW - HISTORY_SECONDS
    row = merged(live(("toys", NOW - 1)), [("tools", edge - 1), ("books", edge)], NOW + 0.9)
    assert pairs(row) == [("books", edge), ("toys", NOW - 1)]


def test_only_the_latest_are_kept() -> None:
    stored = [(f"c{n}", NOW - 1_000 + n) for n in range(RECENT_CLICKS)]
    row = merged(live(("late", NOW - 2_000), ("live", NOW - 1)), stored, NOW)
    assert (
        pairs(row) == [*stored[1:], ("live", NOW - 1)]
        and len(row.timestamps) == RECENT_CLICKS == 200
    )


def test_a_row_is_newer_with_each_update_and_never_older_than_its_newest_click() -> None:
    stored = [("books", NOW - 5)]
    for updates in (
        1,
        2,
        999_999,
    ):  # exact to the microsecond, in which a push is told from another
        late = merged(live(("tools", NOW - 90), updates=updates), stored, NOW)
        assert round(late.updated_at * 1e6) == (NOW - 5) * 10**6 + updates
    assert merged(live(("tools", NOW - 3)), stored, NOW).updated_at == NOW - 3 + 1e-6


def test_repeating_a_merge_or_changing_the_order_makes_no_difference() -> None:
    rng = random.Random(4)

    def some(most: int) -> list[tuple[str, int]]:
        drawn = [(rng.choice("abc"), NOW - rng.randrange(8)) for _ in range(rng.randrange(1, most))]
        return sorted(drawn, key=lambda click: click[1])

    for _ in range(200):
        stored, first = some(12), live(*some(6))
        second = live(*sorted([*pairs(first), *some(6)], key=lambda click: click[1]), updates=2)
        once = merged(first, stored, NOW)
        assert merged(first, pairs(once), NOW) == once
        whole = merged(second, pairs(once), NOW)
        assert whole == merged(second, stored, NOW)  # the first push was lost
        assert Counter(pairs(merged(first, pairs(whole), NOW))) == Counter(
            pairs(whole)
        )  # or came too late
