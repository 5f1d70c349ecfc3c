"""Own counts, and the popularity below what a baseline has scored."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from recsys_assets.columns import MISSING, TIMESTAMP
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.popular_baselines import RecentPopularity
from recsys_assets.lib.evaluation.visitor_baselines import OwnCounts, above_popularity
from recsys_assets_tests.support import small_clicks

ITEMS = ["a", "b", "c", "d"]
CLICKS = [
    *[("ann", "a", day) for day in (1, 2, 2)],
    ("ann", "b", 3),
    *[(f"u{n}", "c", 3) for n in range(9)],
    ("u1", "d", 3),
]


def own_counts(half_life: float, popularity: float) -> OwnCounts:
    log = ClickLog.of(small_clicks.interactions(CLICKS), ITEMS)
    return OwnCounts(log, RecentPopularity(log, 9, 9.0), half_life, popularity)


def order(scorer: OwnCounts, user: str) -> str:
    asked = small_clicks.queries([(user, "a", 4)], ITEMS)
    scores = scorer.scores(asked, np.array([0]))[0]
    return "".join(ITEMS[n] for n in np.argsort(-scores, kind="stable"))


@pytest.mark.parametrize(
    ("half_life", "popularity", "expected"),
    [(30.0, 0.01, "abcd"), (0.02, 0.01, "bcad"), (30.0, 10.0, "cabd")],
)
def test_own_items_come_by_count_or_by_recency_and_then_by_popularity(
    half_life, popularity, expected
):
    assert order(own_counts(half_life, popularity), "ann") == expected


def test_strangers_get_popularity():
    assert order(own_counts(30.0, 0.01), MISSING) == order(own_counts(30.0, 0.01), "x") == "cabd"


def test_one_answer_per_visitor_and_second():
    scorer = own_counts(30.0, 0.01)
    asked = small_clicks.queries([("ann", "a", 4), ("u1", "a", 4), ("ann", "b", 4)], ITEMS)
    same = asked.frame.with_columns(pl.lit(10**7).alias(TIMESTAMP))
    asked.frame.replace_column(asked.frame.get_column_index(TIMESTAMP), same[TIMESTAMP])
    found = scorer.scores(asked, np.arange(3))
    np.testing.assert_array_equal(found[0], found[2])
    assert (found[0] != found[1]).any()


def test_what_has_no_score_comes_below_by_popularity():
    found = above_popularity(
        sp.csr_matrix([[0.0, 1e-30, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]),
        np.array([[1e-9, 9.0, 9.0, 2e-9], [3.0, 0.0, 0.0, 4.0]]),
    )
    assert np.argsort(-found, axis=1, kind="stable").tolist() == [[2, 1, 3, 0], [3, 0, 1, 2]]
