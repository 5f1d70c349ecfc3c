"""Follow-ups and session-kNN against loops over all clicks."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest

from recsys_assets.columns import MISSING, SECONDS_PER_DAY, TIMESTAMP
from recsys_assets.lib.evaluation import list_metrics, session_baselines
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.list_metrics import SameForAll
from recsys_assets.lib.evaluation.popular_baselines import RecentPopularity
from recsys_assets.lib.evaluation.session_baselines import (
    FollowUps,
    SessionKNN,
    follow_ups,
    sessions_of,
)
from recsys_assets_tests.support import small_clicks

ITEMS = [f"i{n}" for n in range(8)]
LAST = 20 * SECONDS_PER_DAY


@pytest.fixture(scope="module")
def clicks() -> list[tuple[str, int, int]]:
    """300 clicks (user, item, second) of 12 visitors; some are of one second."""
    rng = np.random.default_rng(4)
    second = np.sort(rng.integers(0, LAST // 600, 300)) * 600
    drawn = zip(rng.integers(0, 12, 300), rng.integers(0, 8, 300), second, strict=True)
    return sorted((f"u{user:02}", int(item), int(at)) for user, item, at in drawn)


@pytest.fixture(scope="module")
def log(clicks) -> ClickLog:
    frame = small_clicks.interactions([(user, ITEMS[item], 0) for user, item, _ in clicks])
    return ClickLog.of(frame.with_columns(pl.Series(TIMESTAMP, [at for *_, at in clicks])), ITEMS)


def histories(clicks) -> list[list[tuple[int, int]]]:
    """(item, second) of each visitor, in time; the items of a second in catalogue order."""
    groups = itertools.groupby(clicks, key=lambda click: click[0])
    return [sorted(((i, at) for _, i, at in own), key=lambda one: one[::-1]) for _, own in groups]


def places(own: list[tuple[int, int]]) -> list[int]:
    moments = sorted({at for _, at in own})
    return [moments.index(at) for _, at in own]


@pytest.mark.parametrize("reach", [1, 4])
def test_follow_ups_count_what_came_after(clicks, log, reach):
    newest, expected = max(at for *_, at in clicks), np.zeros((8, 8))
    for own in histories(clicks):
        place = places(own)
        for first, second in itertools.combinations(range(len(own)), 2):
            gap = place[second] - place[first]
            if second - first <= reach and gap:
                age = (newest - own[second][1]) / SECONDS_PER_DAY
                expected[own[first][0], own[second][0]] += 0.5 ** (age / 5.0) / gap
    found = follow_ups(log, reach, 5.0)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-5)
    assert not np.allclose(expected, expected.T), "they have a direction"


def test_follow_ups_are_shares_or_counts(log):
    popular = RecentPopularity(log, 9, 9.0)
    shared = {"reach": 2, "half_life": 5.0, "place_decay": 0.5}
    counts = FollowUps.fit(log, log, popular, normalisation=0.0, **shared).after
    shares = FollowUps.fit(log, log, popular, normalisation=1.0, **shared).after
    np.testing.assert_allclose(np.asarray(shares.sum(axis=1)).ravel(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(counts.toarray(), follow_ups(log, 2, 5.0).toarray(), rtol=1e-6)


def test_the_scores_of_follow_ups_sum_the_places(clicks, log):
    popular = RecentPopularity(log, 30, 9.0)
    scorer = FollowUps.fit(
        log, log, popular, reach=2, half_life=5.0, normalisation=1.0, place_decay=0.5
    )
    asked = small_clicks.queries([("u03", "i0", 30)], ITEMS)
    own = histories(clicks)[3]
    place = places(own)
    expected = np.zeros(8)
    for (item, _), at in zip(own[-50:], place[-50:], strict=True):
        expected += 0.5 ** (place[-1] - at) * scorer.after.toarray()[item]
    found = scorer.scores(asked, np.array([0]))[0]
    np.testing.assert_allclose(found[expected > 0], expected[expected > 0], rtol=1e-5)


@pytest.mark.parametrize("pause", [0.5, 24.0, 1e6])
def test_sessions_end_with_a_pause_and_the_latest_comes_first(clicks, log, pause):
    expected = []
    for own in histories(clicks):
        session = [own[0]]
        for click in [*own[1:], (0, 10**9)]:
            if click[1] - session[-1][1] > pause * 3_600:
                items = {item for item, _ in session}
                expected += [(session[-1][1], items)] if len(items) > 1 else []
                session = []
            session.append(click)
    if pause == 1e6:
        expected = [(own[-1][1], {item for item, _ in own}) for own in histories(clicks)]
    found, end = sessions_of(log, pause)
    rows = [set(found[n].indices.tolist()) for n in range(found.shape[0])]
    assert (np.diff(end) <= 0).all() and set(found.data) <= {1.0}
    assert sorted(zip(end.tolist(), map(sorted, rows), strict=True)) == sorted(
        (at, sorted(items)) for at, items in expected
    )


def test_session_knn_sums_the_nearest_sessions(clicks, log, monkeypatch):
    monkeypatch.setattr(session_baselines, "SESSIONS_PER_ITEM", 15)
    popular = RecentPopularity(log, 30, 9.0)
    chosen = {"pause": 24.0, "neighbours": 5, "half_life": 6.0, "idf": 1.0, "length": 0.5}
    scorer = SessionKNN.fit(log, log, popular, place_decay=0.7, **chosen)
    sessions, end = sessions_of(log, 24.0)
    ones = sessions.toarray()
    idf = np.log1p(len(ones) / ones.sum(axis=0))
    recency = 0.5 ** ((end.max() - end) / SECONDS_PER_DAY / 6.0)
    indexed = ones * (np.cumsum(ones, axis=0) <= 15)
    own = histories(clicks)[5]
    place = places(own)
    latest = np.zeros(8)
    for (item, _), at in zip(own[-50:], place[-50:], strict=True):
        latest[item] += 0.7 ** (place[-1] - at)
    near = (indexed * idf) @ latest * recency / np.sqrt(ones.sum(axis=1))
    nearest = np.argsort(-near, kind="stable")[:5]
    expected = near[nearest] @ ones[nearest]
    asked = small_clicks.queries([("u05", "i0", 30)], ITEMS)
    found = scorer.scores(asked, np.array([0]))[0]
    assert (expected > 0).any()
    np.testing.assert_allclose(found[expected > 0], expected[expected > 0], rtol=1e-4)


@pytest.mark.parametrize(
    "fit",
    [
        lambda *of: FollowUps.fit(*of, reach=3, half_life=9.0, normalisation=0.5, place_decay=0.9),
        lambda *of: SessionKNN.fit(
            *of, pause=9.0, neighbours=50, half_life=9.0, idf=1.0, length=0.0, place_decay=0.9
        ),
    ],
    ids=["follow_ups", "session_knn"],
)
def test_they_beat_popularity_where_visitors_differ(fit):
    history = small_clicks.block_clicks(range(100, 109), seed=5)
    log = ClickLog.of(small_clicks.interactions(history), small_clicks.ITEMS)
    popular = RecentPopularity(log, 3, 2.0)
    asked = small_clicks.queries([one for one in history if one[2] >= 106], small_clicks.ITEMS)
    ndcg = []
    for scorer in (
        fit(log.before(106), log, popular),
        SameForAll("popularity", log.before(106).daily.sum(axis=0)),
    ):
        ranks = list_metrics.run(scorer, asked).ranks
        figures = list_metrics.list_metrics(ranks, asked.users, resamples=1)
        ndcg.append(figures["ndcg@10"]["value"])
    assert ndcg[0] > 1.5 * ndcg[1]
    stranger = small_clicks.queries([(MISSING, "i0", 106)], small_clicks.ITEMS)
    row = np.array([0])
    np.testing.assert_array_equal(
        fit(log.before(106), log, popular).scores(stranger, row), popular.scores(stranger, row)
    )
