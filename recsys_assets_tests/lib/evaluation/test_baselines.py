"""Each baseline from a profile against an oracle by brute force."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from recsys_assets.columns import MISSING, SECONDS_PER_DAY, TIMESTAMP
from recsys_assets.lib.evaluation import baselines, list_metrics
from recsys_assets.lib.evaluation.click_log import ClickLog
from recsys_assets.lib.evaluation.list_metrics import SameForAll
from recsys_assets.lib.evaluation.popular_baselines import RecentPopularity
from recsys_assets_tests.support import small_clicks

FIRST, ASKED = 100, 106  # days since 1970: fitted before ASKED
HISTORY = small_clicks.block_clicks(range(FIRST, ASKED + 3), seed=5)
FIT = {
    "item_knn": lambda x, log, pop: baselines.ItemKNN.fit(
        x, log, pop, neighbours=20, weighting="cosine", shrinkage=0.5, half_life=4.0
    ),
    "ease": lambda x, log, pop: baselines.Ease.fit(x, log, pop, regularisation=3.0, half_life=4.0),
    "ials": lambda x, log, pop: baselines.ImplicitALS.fit(
        x, log, pop, factors=8, regularisation=1.0, alpha=4.0, iterations=10, half_life=4.0, seed=1
    ),
}


def fitted(name: str, frame: pl.DataFrame, log: ClickLog | None = None):
    """A baseline fitted on the clicks before ASKED that answers with what ``log`` (default: the
    frame) holds.
    """
    log = log or ClickLog.of(frame, small_clicks.ITEMS)
    popular = RecentPopularity(log, window=3, half_life=2.0)
    return FIT[name](log.before(ASKED).matrix(), log, popular)


@pytest.fixture(scope="module")
def clicks() -> sp.csr_matrix:
    rng = np.random.default_rng(2)
    return sp.csr_matrix((rng.random((60, 12)) < rng.uniform(0.05, 0.5, 12)).astype(np.float32))


# --- oracles
@pytest.mark.parametrize("regularisation", [0.5, 20.0])
def test_ease_is_the_constrained_least_squares_solution(clicks, regularisation):
    x = clicks.toarray().astype(np.float64)
    expected = np.zeros((12, 12))
    for j in range(12):  # each column by itself: ridge regression of item j on all other items
        others = [i for i in range(12) if i != j]
        a = np.vstack([x[:, others], np.sqrt(regularisation) * np.eye(11)])
        expected[others, j] = np.linalg.lstsq(
            a, np.concatenate([x[:, j], np.zeros(11)]), rcond=None
        )[0]
    np.testing.assert_allclose(baselines.ease_weights(x.T @ x, regularisation), expected, atol=1e-5)


def test_ease_needs_regularisation():
    with pytest.raises(ValueError, match="regularisation is 0"):
        baselines.ease_weights(np.eye(2), 0)


@pytest.mark.parametrize("shrinkage, neighbours", [(0.0, 12), (0.7, 3)])
def test_similarity_is_the_cosine_of_the_nearest(clicks, shrinkage, neighbours):
    x = clicks.toarray().astype(np.float64)
    added = shrinkage * np.mean((x**2).sum(axis=0))
    expected = np.zeros((12, 12))
    for i in range(12):
        row = [
            0.0
            if i == j
            else x[:, i] @ x[:, j] / (np.linalg.norm(x[:, i]) * np.linalg.norm(x[:, j]) + added)
            for j in range(12)
        ]
        for j in sorted(range(12), key=lambda j, row=row: -row[j])[:neighbours]:
            expected[i, j] = row[j]
    found = baselines.similarities(clicks, neighbours, "cosine", shrinkage).toarray()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_similarity_is_the_same_in_blocks(clicks, monkeypatch):
    whole = [
        baselines.similarities(clicks, 4, weighting, 0.5).toarray()
        for weighting in baselines.WEIGHTINGS
    ]
    monkeypatch.setattr(baselines, "_ITEMS_PER_BLOCK", 5)
    for weighting, expected in zip(baselines.WEIGHTINGS, whole, strict=True):
        np.testing.assert_allclose(
            baselines.similarities(clicks, 4, weighting, 0.5).toarray(), expected, rtol=1e-6
        )
    assert not np.allclose(whole[0], whole[1]) and not np.allclose(whole[1], whole[2])


def test_tfidf_makes_clicks_of_busy_visitors_count_less():
    # items 0 and 1 share a visitor of two clicks, items 0 and 2 one of many; alike otherwise
    x = np.zeros((4, 8), np.float32)
    x[0, [0, 1]], x[1, [0, 2, 3, 4, 5, 6]], x[2, 1], x[3, 2] = 1, 1, 1, 1
    cosine = baselines.similarities(sp.csr_matrix(x), 8, "cosine", 0.0).toarray()
    weighted = baselines.similarities(sp.csr_matrix(x), 8, "tfidf", 0.0).toarray()
    assert cosine[0, 1] == pytest.approx(cosine[0, 2]) and weighted[0, 1] > 1.5 * weighted[0, 2]


def test_an_unknown_weighting_names_the_known_ones(clicks):
    with pytest.raises(ValueError, match="'jaccard' is unknown; use one of cosine, tfidf, bm25"):
        baselines.similarities(clicks, 3, "jaccard", 0.0)


def moments(asked) -> np.ndarray:
    return asked.frame[TIMESTAMP].to_numpy()


def test_ials_folds_a_visitor_in_by_the_normal_equations():
    scorer = fitted("ials", small_clicks.interactions(HISTORY))
    asked = small_clicks.queries([("u3", "i0", ASKED + 2)], small_clicks.ITEMS)
    weights = (
        scorer.log.profiles(scorer.log.codes(pl.Series(["u3"])), moments(asked), 4.0)
        .toarray()[0]
        .astype(np.float64)
    )
    y, confidence = scorer.model.item_factors.astype(np.float64), 1.0 + 4.0 * weights
    confidence[weights == 0] = 1.0  # an item not clicked: preference 0 with confidence 1
    left = y.T @ (confidence[:, None] * y) + 4.0 * np.eye(y.shape[1])
    visitor = np.linalg.solve(left, y.T @ (confidence * (weights > 0)))
    np.testing.assert_allclose(scorer.scores(asked, np.array([0]))[0], y @ visitor, atol=1e-3)


def test_knn_and_ease_multiply_the_profile_with_the_items():
    frame = small_clicks.interactions(HISTORY)
    asked = small_clicks.queries(
        [("u3", "i0", ASKED + 1), ("u3", "i5", ASKED + 1), ("u9", "i1", ASKED)], small_clicks.ITEMS
    )
    for name in ("item_knn", "ease"):
        scorer = fitted(name, frame)
        table = (
            scorer.similarity.toarray().T
            if name == "item_knn"
            else np.zeros((len(small_clicks.ITEMS),) * 2)
        )
        if name == "ease":
            table[np.ix_(scorer.chosen, scorer.chosen)] = scorer.weights
        for n, (user, at) in enumerate(zip(("u3", "u3", "u9"), moments(asked), strict=True)):
            had = frame.filter((pl.col("user_id") == user) & (pl.col(TIMESTAMP) < at))
            expected = np.zeros(len(small_clicks.ITEMS))
            for item, on in had.select("item_id", TIMESTAMP).iter_rows():
                age = (had[TIMESTAMP].max() - on) / SECONDS_PER_DAY
                expected += 0.5 ** (age / 4.0) * table[small_clicks.ITEMS.index(item)]
            found = scorer.scores(asked, np.arange(3))[n]
            kept = expected > 0 if name == "item_knn" else np.ones(len(expected), bool)
            assert kept.any()
            np.testing.assert_allclose(found[kept], expected[kept], rtol=1e-4, atol=1e-6)


def test_knn_lists_what_is_like_nothing_by_popularity():
    pairs = [("ann", "a"), ("bob", "a"), ("bob", "b"), ("cat", "d"), ("dan", "d"), ("cat", "c")]
    log = ClickLog.of(
        small_clicks.interactions([(*pair, 1) for pair in pairs]), ["a", "b", "c", "d", "e"]
    )
    popular = RecentPopularity(log, window=9, half_life=9.0)
    scorer = baselines.ItemKNN.fit(
        log.matrix(), log, popular, neighbours=5, weighting="cosine", shrinkage=0.0, half_life=9.0
    )
    found = scorer.scores(
        small_clicks.queries([("ann", "b", 2)], ["a", "b", "c", "d", "e"]), np.array([0])
    )[0]
    # b shares a visitor with a; then a and d (two clicks each), c (one), e (none)
    assert found[1] > found[0] == found[3] > found[2] > found[4]


@pytest.mark.parametrize("name", FIT)
def test_a_profile_beats_popularity_where_visitors_differ(name):
    frame = small_clicks.interactions(HISTORY)
    asked = small_clicks.queries(
        [click for click in HISTORY if click[2] >= ASKED], small_clicks.ITEMS
    )
    log = ClickLog.of(frame, small_clicks.ITEMS)
    ndcg = {}
    for scorer in (
        fitted(name, frame),
        SameForAll("popularity", log.before(ASKED).daily.sum(axis=0)),
    ):
        ranks = list_metrics.run(scorer, asked).ranks
        ndcg[scorer.name] = list_metrics.list_metrics(ranks, asked.users, resamples=1)["ndcg@10"][
            "value"
        ]
    assert ndcg[name] > 1.5 * ndcg["popularity"]


@pytest.mark.parametrize("name", FIT)
def test_unknown_visitors_get_what_is_popular_lately(name):
    scorer = fitted(name, small_clicks.interactions(HISTORY))
    asked = small_clicks.queries(
        [(MISSING, "i0", ASKED), ("nobody", "i1", ASKED + 1), ("u0", "i1", ASKED)],
        small_clicks.ITEMS,
    )
    found, popular = scorer.scores(asked, np.arange(3)), scorer.fallback.scores(asked, np.arange(3))
    np.testing.assert_array_equal(found[:2], popular[:2])
    assert (popular[0] != popular[1]).any() and (found[2] != popular[2]).any()
