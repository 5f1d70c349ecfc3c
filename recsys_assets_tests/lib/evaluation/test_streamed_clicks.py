"""What was popular at each query: against a sum over all clicks, and the time that it takes."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest

from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.popular_baselines import StreamedPopularity
from recsys_assets.lib.evaluation.streamed_clicks import StreamedClicks, StreamedLists
from recsys_assets.lib.sources.forward_decay import APART, HALF_LIVES, period_start
from recsys_assets.lib.sources.union import LISTED
from recsys_assets_tests.support import small_clicks
from recsys_assets_tests.support.small_queries import queries

HOUR, DAY = 3_600, 86_400
START = period_start(600, 3) - 5 * DAY  # a period of three hours starts within the log


def log(rows: list[tuple[str, str, int]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


def test_a_moment_has_the_clicks_before_its_second():
    clicks = log([("u", "i0", 0), ("v", "i1", HOUR), ("w", "i1", 2 * HOUR), ("u", "gone", 9)])
    at = np.array([2 * HOUR, 0, HOUR, 2 * HOUR + 1, 1])
    found = StreamedClicks.of(clicks, ["i0", "i1"]).lists(at, 3)
    assert found.shape == (5, LISTED) and found.dtype == np.int32
    listed = [row[row >= 0].tolist() for row in found]
    assert listed == [[1, 0], [], [0], [1, 0], [0]]


def test_a_visitor_who_repeats_a_click_counts_once():
    seconds = [("bot", "i1", n) for n in range(0, HOUR, 10)]
    people = [("u", "i0", 5), ("v", "i0", 6)]
    clicks = StreamedClicks.of(log(seconds + people), ["i0", "i1"])
    assert len(clicks.item) == 3
    assert clicks.lists(np.array([HOUR]), 3)[0, :2].tolist() == [0, 1]
    later = StreamedClicks.of(log([("bot", "i1", 0), ("bot", "i1", APART)]), ["i0", "i1"])
    assert len(later.item) == 2
    nobody = StreamedClicks.of(log([("-1", "i1", 0), ("-1", "i1", 1)]), ["i0", "i1"])
    assert len(nobody.item) == 2, "those without a user id are not one person"


@pytest.mark.parametrize("half_life", HALF_LIVES)
@pytest.mark.parametrize("seed", range(3))
def test_lists_are_those_of_a_sum_over_all_clicks(half_life, seed):
    rng, items = np.random.default_rng(seed), 400
    at = START + rng.integers(0, 10 * DAY, 3_000)
    item = np.minimum(rng.geometric(0.01, 3_000), items) - 1
    clicks = log([(f"u{n}", f"i{row}", t) for n, (row, t) in enumerate(zip(item, at, strict=True))])
    moments = START + rng.integers(-DAY, 11 * DAY, 60)
    ids = [f"i{n}" for n in range(items)]
    found = StreamedClicks.of(clicks, ids).lists(moments, half_life)
    for n, moment in enumerate(moments.tolist()):
        past = at < moment
        weight = np.exp2((at[past] - moment) / (half_life * HOUR))
        sums = np.bincount(item[past], weight, minlength=items)
        listed = found[n][found[n] >= 0]
        assert len(listed) == min(LISTED, int((sums > 0).sum()))
        assert (np.diff(sums[listed]) <= 1e-12 * sums.max(initial=0)).all(), "best first"
        left_out = np.delete(sums, listed)
        if len(listed):
            assert left_out.max(initial=0) <= sums[listed[-1]] * (1 + 1e-12)


def test_the_first_ten_are_those_of_the_baseline():
    """Without repetitions, the nDCG@10 of the lists is that of streamed popularity."""
    frame = small_clicks.interactions(small_clicks.block_clicks(range(9)))
    frame = frame.unique(["user_id", "item_id"], maintain_order=True)
    asked = queries(
        [n % len(small_clicks.ITEMS) for n in range(200)],
        len(small_clicks.ITEMS),
        frame=pl.DataFrame({"timestamp": np.arange(200) * 3_000 + 3 * DAY}),
        item_ids=small_clicks.ITEMS,
    )
    lists = StreamedLists(StreamedClicks.of(frame, small_clicks.ITEMS), 12)
    baseline = StreamedPopularity(ClickLog.of(frame, small_clicks.ITEMS), half_life=12.0)
    found, expected = (list_metrics.run(one, asked) for one in (lists, baseline))
    np.testing.assert_array_equal(found.top, expected.top)


def test_lists_are_made_once_per_queries():
    clicks = StreamedClicks.of(log([("u", "i0", 0)]), ["i0", "i1"])
    asked = queries([0], 2, frame=pl.DataFrame({"timestamp": [9]}))
    assert clicks.asked(asked, 3) is clicks.asked(asked, 3)
    assert clicks.asked(asked, 12) is not clicks.asked(asked, 3)
    other = queries([0], 2, frame=pl.DataFrame({"timestamp": [0]}))
    assert clicks.asked(other, 3).max() == -1


@pytest.mark.parametrize("items", [2_000, 1_000_000])
def test_twenty_thousand_queries_take_seconds_however_large_the_catalogue_is(items):
    rng = np.random.default_rng(1)
    time_of = np.sort(rng.integers(0, 20 * DAY, 400_000))
    clicks = StreamedClicks(rng.integers(0, items, 400_000), time_of, items)
    moments = rng.integers(15 * DAY, 20 * DAY, 20_000)
    started = time.process_time()
    found = clicks.lists(moments, 12)
    assert time.process_time() - started < 20, "2 s on an idle core"
    assert (found >= 0).all()
