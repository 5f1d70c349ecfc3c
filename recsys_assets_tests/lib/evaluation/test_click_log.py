"""The click log by hand: what is counted, from when, for whom."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys_assets.columns import (
    CLICK,
    EVENT_TYPE,
    MISSING,
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    TIMESTAMP,
)
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


def clicked_at(*clicks: tuple[str, str, int]) -> pl.DataFrame:
    """RAW_INTERACTIONS of clicks (user, item, second)."""
    frame = interactions([(user, item, 0) for user, item, _ in clicks])
    return frame.with_columns(pl.Series(TIMESTAMP, [second for *_, second in clicks]))


def asked(log: ClickLog, user: str, at: int) -> tuple[np.ndarray, np.ndarray]:
    return log.codes(pl.Series([user])), np.array([at])


def test_clicks_count_by_day_views_alone_and_items_of_the_catalogue(log):
    assert log.first_day == 10
    assert log.daily.tolist() == [[2, 0, 0], [0, 0, 1], [1, 1, 1]]
    assert log.users["user_id"].to_list() == ["ann", "bob"], "the unknown are nobody"


def test_a_profile_ends_before_the_second_and_fades_from_the_latest_click():
    day = SECONDS_PER_DAY
    log = ClickLog.of(
        clicked_at(("ann", "a", 100), ("ann", "b", 100 + day), ("ann", "a", 100 + 2 * day)), ITEMS
    )

    def profile(user: str, at: int) -> list[float]:
        return log.profiles(*asked(log, user, at), half_life=1.0).toarray()[0].tolist()

    assert profile("ann", 100) == [0, 0, 0], "a click of the query's second does not count"
    assert profile("ann", 101) == [1, 0, 0]
    assert profile("ann", 100 + 2 * day) == [0.5, 1, 0]
    assert profile("ann", 101 + 2 * day) == profile("ann", 100 + 9 * day) == [1.25, 0.5, 0]
    assert profile(MISSING, 101) == profile("nobody", 101) == [0, 0, 0]


def test_old_clicks_of_a_profile_do_not_vanish():
    log = ClickLog.of(clicked_at(("ann", "a", 0), ("ann", "b", 300 * SECONDS_PER_DAY)), ITEMS)
    later = asked(log, "ann", 301 * SECONDS_PER_DAY)
    found = log.profiles(*later, half_life=0.02).toarray()[0]
    assert found[1] == 1 and 0 < found[0] < 1e-20


def test_the_latest_clicks_are_weighted_by_place_and_one_second_is_one_place():
    log = ClickLog.of(
        clicked_at(
            ("ann", "c", 5), ("ann", "a", 10), ("ann", "b", 10), ("ann", "b", 20), ("bob", "c", 1)
        ),
        ITEMS,
    )

    def latest(at: int, most: int = 50) -> list[float]:
        return log.latest(*asked(log, "ann", at), most, decay=0.5).toarray()[0].tolist()

    assert latest(10) == [0, 0, 1]
    assert latest(11) == [1, 1, 0.5]
    assert latest(21) == [0.5, 1.5, 0.25]
    assert latest(21, most=2) == [0, 1.5, 0]
    assert log.latest(*asked(log, "nobody", 21), 50, 0.5).nnz == 0


@pytest.mark.parametrize("half_life", [0.01, 1.0, 100.0])
def test_streamed_clicks_are_those_before_the_second(half_life):
    # with the shortest half-life, the moments are some thousand half-lives apart
    rng = np.random.default_rng(3)
    second = np.sort(rng.integers(0, 2 * SECONDS_PER_DAY, 300))
    item, user = rng.integers(0, 3, 300), rng.integers(0, 9, 300)
    log = ClickLog.of(
        clicked_at(
            *(
                (f"u{u}" if u else MISSING, ITEMS[i], int(s))
                for u, i, s in zip(user, item, second, strict=True)
            )
        ),
        ITEMS,
    )
    at = np.concatenate([rng.permutation(second)[:40], [0, 5 * SECONDS_PER_DAY, second[7]]])
    found = log.streamed(at, half_life)
    for row, moment in zip(found, at, strict=True):
        age = (moment - second) / (half_life * SECONDS_PER_HOUR)
        expected = [np.exp2(-age[(item == n) & (second < moment)]).sum() for n in range(3)]
        np.testing.assert_allclose(row, expected, rtol=1e-9)


def test_recent_clicks_fade_and_end_with_the_window(log):
    assert log.recent(10, 1.0).tolist() == [0, 0, 0]
    assert log.recent(12, 1.0).tolist() == [2 * 0.5, 0, 1]
    assert log.recent(12, 1.0, window=1).tolist() == [0, 0, 1]
    assert log.recent(14, 1.0).tolist() == [2 * 0.125 + 0.5, 0.5, 0.25 + 0.5]


def test_the_matrix_has_ones_and_only_visitors_with_clicks(log):
    assert log.matrix().toarray().tolist() == [[1, 1, 0], [0, 0, 1]]
    assert log.before(11).matrix().toarray().tolist() == [[1, 0, 0]]
    sample = log.sampled(1, seed=3)
    assert sample.matrix().shape == (1, 3) and sample.items == 3
    assert (log.sampled(1, seed=3).matrix() != sample.matrix()).nnz == 0
    assert log.sampled(2, seed=3) is log
    assert len(log.before(11).stream_time) == 2 and sample.daily is log.daily


def test_a_log_without_a_click_answers_with_nothing():
    log = ClickLog.of(interactions(CLICKS), ["x"])
    assert log.daily.shape == (0, 1) and log.matrix().shape == (0, 1)
    assert log.recent(12, 7.0).tolist() == [0.0] and log.before(12).items == 1
    assert log.codes(pl.Series(["a"])).tolist() == [-1]
    assert log.profiles(np.array([-1]), np.array([12]), 7.0).nnz == 0
    assert log.latest(np.array([-1]), np.array([12]), 50, 0.5).nnz == 0
    assert log.streamed(np.array([12, 0]), 7.0).tolist() == [[0.0], [0.0]]


def test_days_change_at_midnight():
    assert days_of(pl.DataFrame({"timestamp": [86_399, 86_400]})).tolist() == [0, 1]
