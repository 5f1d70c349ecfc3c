"""Sessions of held-out clicks, and the lists before and after their clicks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from recsys_assets.lib.evaluation import session_figures, session_moves
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.session_moves import measure, session_queries, verdict
from recsys_assets_tests.support.small_queries import queries

DAY = 86_400
#: 60 % shoes, 30 % hats, 10 % bags: bags are neither usual nor unknown.
HISTORY = ["shoes"] * 6 + ["hats"] * 3 + ["bags"]

Click = tuple[str, int, str | None]  # visitor, seconds, category


def asked(
    clicks: list[Click],
    *,
    history: list[str] = HISTORY,
    items: int = 30,
    true: list[int] | None = None,
    simulated: list[bool] | None = None,
    zone: str = "UTC",
) -> Queries:
    """Queries of clicks, in this order; each visitor's first click has the history."""
    users, at, category = zip(*clicks, strict=True)
    frame = pl.DataFrame(
        {
            "user_id": users,
            "timestamp": at,
            "category_l1": category,
            "categories": [history] * len(users),
            "items": [["i0"] * len(history)] * len(users),
            "ages": [[48.0] * len(history)] * len(users),
            "top_category": "-1",
            **{
                name: pl.Series([float(len(history))] * len(users), dtype=pl.Float32)
                for name in ("clicks_24h", "clicks_look_back", "hours_since_click")
            },
        },
        schema_overrides={"ages": pl.List(pl.Float32)},
    )
    found = queries(
        true or [0] * len(users),
        items,
        users=[f"{user} {n}" if user == "-1" else user for n, user in enumerate(users)],
        frame=frame,
        simulated=simulated,
    )
    found.counts["time_zone"] = zone
    return found


def found_in(own: Queries) -> list[tuple[int, int, int, bool, bool]]:
    one = session_queries(own)
    parts = (one.rows, one.first, one.clicks, one.within, one.outside)
    return list(zip(*(part.tolist() for part in parts), strict=True))


def test_the_queries_after_one_two_and_five_clicks_are_found():
    shoes = [("a", 100 * n, "shoes") for n in range(7)]
    assert found_in(asked(shoes)) == [
        (1, 0, 1, True, False),
        (2, 0, 2, True, False),
        (5, 0, 5, True, False),
    ]


def test_clicks_are_within_the_taste_outside_of_it_or_neither():
    one = [
        [("a", 0, first), ("a", 1, second), ("a", 2, "shoes")]
        for first, second in (
            ("shoes", "hats"),
            ("toys", "games"),
            ("shoes", "toys"),
            ("bags", "shoes"),
            ("unknown", "toys"),
            (None, "shoes"),
        )
    ]
    assert [[row[3:] for row in found_in(asked(clicks))] for clicks in one] == [
        [(True, False), (True, False)],
        [(False, True), (False, True)],
        [(True, False), (False, False)],
        [(False, False), (False, False)],
        [(False, False), (False, False)],
        [(False, False), (False, False)],
    ]


def test_a_session_is_a_local_day_of_one_visitor():
    clicks = [("a", DAY - 60, "hats"), ("a", DAY + 60, "hats"), ("b", DAY - 30, "hats")]
    assert found_in(asked(clicks)) == []
    # at midnight in UTC it is 9 in Tokyo
    assert found_in(asked(clicks, zone="Asia/Tokyo")) == [(1, 0, 1, True, False)]


def test_clicks_of_one_second_have_one_list():
    clicks = [("a", 5, "hats"), ("a", 5, "toys"), ("a", 9, "hats"), ("a", 9, "hats")]
    assert [row[:3] for row in found_in(asked(clicks))] == [(2, 0, 2), (3, 0, 2)]


def test_unnamed_and_simulated_visitors_and_short_histories_are_left_out():
    two = [("-1", 0, "hats"), ("-1", 9, "hats")]
    assert found_in(asked(two)) == []
    known = [("a", 0, "hats"), ("a", 9, "hats")]
    assert found_in(asked(known, simulated=[False, True])) == []
    assert found_in(asked(known, history=HISTORY[1:])) == []
    assert len(found_in(asked(known))) == 1


@dataclass(frozen=True)
class Fixed:
    """Shows items 0 to 9 to everybody; the first of them is the true item."""

    name: str = "fixed"

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        return np.repeat(-np.arange(queries.items, dtype=float)[None], len(rows), axis=0)


def test_lists_are_compared_with_those_without_the_clicks():
    """25 visitors click outside their taste, once and then on item 2, which the live list shows
    first; it has 4 items of its own. The list without the click has item 2 in place 3.
    """
    visitors = [f"u{n}" for n in range(25)]
    clicks = [(user, at, "toys") for user in visitors for at in (0, 50)]
    own = asked(clicks, true=[0, 2] * 25)
    top = np.tile(np.array([2, 20, 21, 22, 23, 0, 1, 3, 4, 5], np.int32), (50, 1))
    moves = measure(own, Lists(np.full(50, 1, np.int32), top), Fixed(), seed=7)
    cell = moves["outside"]["1"]
    assert (cell["queries"], cell["visitors"], cell["median_changed"]) == (25, 25, 4.0)
    assert cell["changed"] == {"value": 4.0, "low": 4.0, "high": 4.0}
    assert cell["after"]["value"] == 1.0 and cell["before"]["value"] == pytest.approx(0.5)
    assert cell["gain"] == pytest.approx({"value": 0.5, "low": 0.5, "high": 0.5})
    assert moves["all"]["1"] == cell
    assert moves["within"]["1"]["queries"] == 0 and moves["within"]["1"]["changed"] is None
    table = session_figures.table(moves)
    row = dict(zip(table.columns, table.row(3), strict=True))
    assert row["clicks"] == "1 outside" and row["queries"] == "25" and row["median"] == "4"
    assert row["changed of 10"] == "4.0 [4.0, 4.0]" and row["remark"] == ""
    assert row["difference"] == "+0.5000 [+0.5000, +0.5000]"
    assert table["remark"][0] == "fewer than 20 queries" and table["median"][0] == "–"
    drawn = session_figures.figures(moves)
    assert set(drawn) == {"session_moves", "session_ndcg@10"}
    assert "1 outside" in drawn["session_moves"].svg and "5 all" not in drawn["session_moves"].svg


def test_figures_are_by_visitor_and_too_few_queries_have_none():
    """A visitor of two queries weighs as much as one of one query."""
    clicks = [("a", 0, "toys"), ("a", 9, "toys"), ("a", 9, "toys")]
    clicks += [(f"u{n}", at, "toys") for n in range(17) for at in (0, 9)]
    own = asked(clicks)
    lists = Lists(
        np.ones(len(own), np.int32), np.tile(np.arange(10, dtype=np.int32), (len(own), 1))
    )
    moves = measure(own, lists, Fixed(), seed=7)
    assert moves["all"]["1"]["queries"] == 19 and moves["all"]["1"]["changed"] is None
    assert session_figures.figures(moves) == {}
    clicks += [("v", 0, "toys"), ("v", 9, "toys")]
    own = asked(clicks)
    changed = np.tile(np.arange(10, dtype=np.int32), (len(own), 1))
    changed[1:3] += 10  # both queries of the first visitor
    moves = measure(own, Lists(np.ones(len(own), np.int32), changed), Fixed(), seed=7)
    cell = moves["all"]["1"]
    assert (cell["queries"], cell["visitors"]) == (20, 19)
    assert cell["changed"]["value"] == pytest.approx(10 / 19) and cell["median_changed"] == 0


def test_whole_visitors_are_left_out_above_the_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session_moves, "MOST_QUERIES", 7)
    clicks = [(f"u{n}", at, "toys") for n in range(6) for at in range(3)]
    own = asked(clicks)
    lists = Lists(
        np.ones(len(own), np.int32), np.tile(np.arange(10, dtype=np.int32), (len(own), 1))
    )
    moves = measure(own, lists, Fixed(), seed=7)
    assert moves["all"]["1"]["queries"] == moves["all"]["2"]["queries"] == 3


def test_lists_that_end_early_have_no_further_item():
    now = np.array([[1, 2, -1], [4, -1, -1], [1, 2, 3]])
    before = np.array([[2, -1, -1], [4, -1, -1], [4, 5, 6]])
    assert session_moves.new_items(now, before).tolist() == [1, 0, 3]


def judged(median: float | None) -> dict:
    gain = {"value": 0.1, "low": 0.05, "high": 0.15}
    return {"outside": {"5": {"queries": 30, "median_changed": median, "gain": gain}}}


@pytest.mark.parametrize(
    ("median", "items", "passed", "text"),
    [
        (6.0, 100, True, "change 6 of 10 items of the median list; nDCG@10 .* by \\+0.1000"),
        (9.5, 100, True, "change 9.5 of 10"),
        (10.0, 100, False, "They replace the list.*RECSYS_SOURCES.*lower last_item_share"),
        (0.0, 100, False, "They change nothing.*RECSYS_SOURCES.*higher last_item_share"),
        (None, 100, True, "too few to judge: 30 queries, 20 are needed"),
        (0.0, 12, True, "too few items to judge: 12"),
    ],
)
def test_five_clicks_move_a_list_and_do_not_replace_it(median, items, passed, text):
    import re

    verdict_, found = verdict(judged(median), items)
    assert verdict_ is passed and re.search(text, found), found
