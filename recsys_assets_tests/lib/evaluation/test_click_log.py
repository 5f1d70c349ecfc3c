"""The click log by hand: what is counted, from when, for whom."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys_assets.columns import CLICK, EVENT_TYPE, MISSING
from recsys_assets.lib.evaluation.click_log import ClickLog, days_of
from recsys_assets_tests.support.small_clicks import interactions

ITEMS = ["a", "b", "c"]
CLICKS = [
    ("ann", "a", 10),
    ("ann", "b", 12),
    ("ann", "a", 12),
    ("bob", "c", 11),
    (MISSING, "c", 12),
    ("ann", "gone", 11),
    ("ann", "a", 10),
]


@pytest.fixture
def log() -> ClickLog:
    shown = interactions([("bob", "a", 10)]).with_columns(
        pl.lit("Impression").alias(EVENT_TYPE), pl.lit(0, pl.Int8).alias(CLICK)
    )
    return ClickLog.of(pl.concat([interactions(CLICKS), shown]), ITEMS)


def profile(log: ClickLog, user: str, day: int, half_life: float) -> list[float]:
    code = log.codes(pl.Series([user]))
    return log.profiles(code, np.array([day]), half_life).toarray()[0].tolist()


def test_clicks_count_by_day_views_alone_and_items_of_the_catalogue(log):
    assert log.first_day == 10
    assert log.daily.tolist() == [[2, 0, 0], [0, 0, 1], [1, 1, 1]]
    assert log.users["user_id"].to_list() == ["ann", "bob"], "the unknown are nobody"


def test_a_profile_ends_the_day_before_and_fades(log):
    assert profile(log, "ann", 10, 1.0) == [0, 0, 0]
    assert profile(log, "ann", 11, 1.0) == [2, 0, 0]
    assert profile(log, "ann", 12, 1.0) == [1, 0, 0], (
        "halved after a day; the day's own clicks are not known yet"
    )
    assert profile(log, "ann", 13, 1.0) == [0.25 * 2 + 1, 1, 0]
    assert profile(log, "ann", 14, 1.0) == [0.75, 0.5, 0], (
        "a day beyond the log: everything fades on"
    )
    assert profile(log, MISSING, 13, 1.0) == profile(log, "nobody", 13, 1.0) == [0, 0, 0]


def test_recent_clicks_fade_and_end_with_the_window(log):
    assert log.recent(10, 1.0).tolist() == [0, 0, 0]
    assert log.recent(12, 1.0).tolist() == [2 * 0.5, 0, 1]
    assert log.recent(12, 1.0, window=1).tolist() == [0, 0, 1]
    assert log.recent(14, 1.0).tolist() == [2 * 0.125 + 0.5, 0.5, 0.25 + 0.5]


def test_the_matrix_has_ones_and_only_visitors_with_clicks(log):
    assert log.matrix().toarray().tolist() == [[1, 1, 0], [0, 0, 1]]
    assert log.before(11).matrix().toarray().tolist() == [[1, 0, 0]]
    sample = log.matrix(most_users=1, seed=3)
    assert sample.shape == (1, 3) and (log.matrix(1, 3) != sample).nnz == 0


def test_a_log_without_a_click_answers_with_nothing():
    log = ClickLog.of(interactions(CLICKS), ["x"])
    assert log.daily.shape == (0, 1) and log.matrix().shape == (0, 1)
    assert log.recent(12, 7.0).tolist() == [0.0] and log.before(12).items == 1
    assert log.codes(pl.Series(["a"])).tolist() == [-1]
    assert log.profiles(np.array([-1]), np.array([12]), 7.0).nnz == 0


def test_days_change_at_midnight():
    assert days_of(pl.DataFrame({"timestamp": [86_399, 86_400]})).tolist() == [0, 1]
