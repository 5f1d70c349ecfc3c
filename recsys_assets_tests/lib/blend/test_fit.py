"""Fitted sources list what the baselines of their names score highest."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from recsys_assets.columns import SECONDS_PER_DAY, TIMESTAMP
from recsys_assets.lib.blend.fit import TUNED_AS, default_params, fit_source, table, young_items
from recsys_assets.lib.evaluation.baseline_tuning import Fitter
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.source_names import (
    EASE,
    FOLLOW_UPS,
    IALS,
    ITEM_KNN,
    ITEM_TO_ITEM,
    POPULAR_NOW,
    POPULARITY,
    SESSION_KNN,
    SOURCE_NAMES,
    YOUNG_ITEMS,
)
from recsys_assets_tests.support import small_clicks

ITEMS = [f"i{n}" for n in range(20)]
LAST = 9 * SECONDS_PER_DAY
CONTENT = np.random.default_rng(2).normal(size=(23, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def log() -> ClickLog:
    """900 clicks of 40 visitors; the last item has none, the one before two."""
    rng = np.random.default_rng(6)
    item = np.concatenate([rng.integers(0, 18, 900), [18, 18]])
    user = np.concatenate([rng.integers(0, 40, 900), [1, 2]])
    at = np.sort(rng.permutation(LAST // 60)[:902]) * 60
    clicks = [(f"u{u:02}", ITEMS[i], 0) for u, i in zip(user, item, strict=True)]
    frame = small_clicks.interactions(clicks).with_columns(pl.Series(TIMESTAMP, at))
    return ClickLog.of(frame, ITEMS)


@pytest.mark.parametrize("name", [FOLLOW_UPS, ITEM_KNN, EASE, IALS, SESSION_KNN])
def test_a_source_lists_what_its_baseline_scores_highest(log, name):
    params = default_params(name)
    source = fit_source(name, log, 9, params, CONTENT, seed=7)
    baseline = Fitter.of(log, log, 7)(TUNED_AS[name], params)
    code, at = np.arange(40), np.full(40, LAST + 100)
    scores = baseline.of_clicks(baseline.clicks(code, at), np.zeros((40, 20)))
    start, end = log.spans(code, at)
    for n in range(40):
        own = slice(max(start[n], end[n] - 50), end[n])
        ages = ((at[n] - log.time[own]) / 3600)[::-1].astype(np.float32)
        found = source.best(Recent(log.item[own][::-1], ages), 5)
        expected = np.sort(scores[n])[::-1][: len(found)]
        np.testing.assert_allclose(scores[n, found], expected, rtol=2e-4, atol=1e-6)
        assert len(found) == 5


def test_sessions_weigh_as_the_baseline_s_index_to_the_bit(log):
    params = default_params(SESSION_KNN)
    source = fit_source(SESSION_KNN, log, 9, params, CONTENT, seed=7)
    index = Fitter.of(log, log, 7)(TUNED_AS[SESSION_KNN], params).index
    item = np.repeat(np.arange(20), np.diff(source.item_start))
    weight = (source.rarity[item] * source.recency[source.session]).astype(np.float32)
    np.testing.assert_array_equal(weight, index.data)
    assert len(weight) > 50 and len(set(weight.tolist())) > 50


def test_popular_items_are_those_of_the_baseline(log):
    params = default_params(POPULARITY)
    source = fit_source(POPULARITY, log, 9, params, CONTENT, seed=7)
    counts = log.recent(9, params["half_life"], params["window"])
    found = source.best(Recent(np.zeros(0, np.int64), np.zeros(0, np.float32)), 50)
    assert (np.diff(counts[found]) <= 0).all() and 19 not in found


def test_young_items_have_few_clicks(log):
    assert np.flatnonzero(young_items(log)).tolist() == [18, 19]
    source = fit_source(YOUNG_ITEMS, log, 9, {}, CONTENT, seed=7)
    assert source.rows.tolist() == [18, 19]


@pytest.mark.parametrize(
    "name", [name for name in SOURCE_NAMES if name not in (POPULAR_NOW, ITEM_TO_ITEM)]
)
def test_a_log_without_clicks_of_known_visitors(name):
    strangers = ClickLog.of(small_clicks.interactions([("-1", "i4", 0)]), ITEMS)
    source = fit_source(name, strangers, 99_999, default_params(name), CONTENT, seed=7)
    nobody = Recent(np.zeros(0, np.int64), np.zeros(0, np.float32))
    listed = [] if source is None else source.best(nobody, 9).tolist()
    assert listed == []


def test_a_table_keeps_the_entries_of_largest_size():
    matrix = sp.csr_matrix([[0.0, 0.5, -2.0, 1.0], [0.0, 0.0, 0.0, 0.0], [3.0, 3.0, 3.0, 0.0]])
    columns, values = table(matrix, 2)
    assert columns.tolist() == [[2, 3], [0, 0], [0, 1]]
    assert values.tolist() == [[-2.0, 1.0], [0.0, 0.0], [3.0, 3.0]]
