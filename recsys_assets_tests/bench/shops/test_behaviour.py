"""Test that the truth of a shop shows in what its visitors do."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
import polars as pl

from recsys_assets.bench.shops.behaviour import EVENING, Behaviour, Visitors, draw_log, with_shown

PLAIN = Behaviour(users=200, items=60, taste=0.0, popularity=0.0, follow=0.0)
FIRST = date(2025, 3, 1)


def drawn(truth: Behaviour, volumes: list[int] | None = None) -> pl.DataFrame:
    return draw_log(truth, FIRST, volumes or [800] * 6, seed=1)


def repeats(log: pl.DataFrame) -> float:
    """Return the share of rows that repeat a (user, item) pair."""
    return 1 - log.n_unique(["user", "item"]) / log.height


def test_the_log_has_the_days_and_volumes_that_were_asked_for():
    log = drawn(PLAIN, [300, 0, 50])
    counts = dict(log.group_by("day").len().iter_rows())
    assert set(counts) == {date(2025, 3, 1), date(2025, 3, 3)}
    assert 290 <= counts[date(2025, 3, 1)] <= 300 and 48 <= counts[date(2025, 3, 3)] <= 50
    assert log["time"].is_sorted() and log.n_unique(["user", "item", "time"]) == log.height
    assert (pl.from_epoch(log["time"]).dt.date() == log["day"]).all()


def test_seeds_decide():
    assert drawn(PLAIN).equals(drawn(PLAIN))
    assert not draw_log(PLAIN, FIRST, [100], seed=1).equals(draw_log(PLAIN, FIRST, [100], seed=2))


def test_tastes_concentrate_a_visitors_items():
    assert repeats(drawn(replace(PLAIN, taste=3.0))) > repeats(drawn(PLAIN)) + 0.1


def test_repeats_come_from_earlier_rows_of_the_same_visitor():
    assert repeats(drawn(replace(PLAIN, repeat=0.7))) > repeats(drawn(PLAIN)) + 0.2


def test_popularity_concentrates_the_items():
    def top(log: pl.DataFrame) -> float:
        return float(log["item"].value_counts(sort=True)["count"][:6].sum() / log.height)

    assert top(drawn(replace(PLAIN, popularity=1.0))) > 0.4 > 0.2 > top(drawn(PLAIN))


def test_a_session_continues_with_a_follower():
    truth = replace(PLAIN, follow=0.8, session=4.0)
    visitors = Visitors(truth, 1, seed=3)
    rows = visitors.day(0, 2_000).sort("session", "second").to_dicts()
    pairs = [(a["item"], b["item"]) for a, b in pairwise(rows) if a["session"] == b["session"]]
    followed = np.mean([b in visitors.followers[a] for a, b in pairs])
    assert followed > 0.6  # by chance 5 of 60


def test_new_items_appear_during_the_log_and_are_favoured_at_first():
    truth = replace(PLAIN, new_share=0.5, freshness=3.0)
    log, visitors = drawn(truth), Visitors(truth, 6, seed=1)
    rows = log.with_columns(
        born=pl.Series(visitors.born).gather(log["item"]),
        number=(pl.col("day") - FIRST).dt.total_days(),
    )
    assert (rows["born"] <= rows["number"]).all() and rows["born"].max() > 0
    last = rows.filter(pl.col("number") == pl.col("number").max())
    fresh = last.filter(pl.col("born") == pl.col("number"))
    share_of_items = (visitors.born == 5).mean()
    assert fresh.height / last.height > 2 * share_of_items > 0


def test_the_hours_are_those_of_the_zone():
    zone = "America/New_York"
    log = draw_log(replace(PLAIN, hours=EVENING), date(2025, 3, 7), [500] * 5, seed=4, zone=zone)
    local = pl.from_epoch(log["time"]).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    assert ((local.dt.hour() >= 18).sum() / len(local)) > 0.6
    utc_days = pl.from_epoch(log["time"]).dt.date()
    assert (utc_days != log["day"]).mean() > 0.4  # evenings there are the next day in UTC


def test_shown_items_are_not_clicked_and_exist_already():
    log = drawn(replace(PLAIN, new_share=0.5))
    rows = with_shown(log, PLAIN.items, shown=3, seed=5)
    first = dict(log.group_by("item").agg(pl.col("day").min()).iter_rows())
    assert rows["clicked"].sum() == log.height
    assert 0.2 < rows["clicked"].mean() < 0.35
    assert rows.n_unique(["user", "item", "time"]) == rows.height
    assert all(first[item] <= day for item, day in rows.select("item", "day").iter_rows())
