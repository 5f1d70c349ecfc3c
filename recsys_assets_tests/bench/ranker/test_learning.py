"""Listwise training on made-up moments, whose clicks follow a rule that lists do not know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys_assets.bench.ranker import learning
from recsys_assets.bench.ranker.judge import blended_ranks
from recsys_assets.bench.ranker.learning import ListVariant, learnt_candidates, scores, train
from recsys_assets.bench.ranker.moments import Moment, RankerItems
from recsys_assets.lib.blend import weights as w
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets_tests.support.small_labels import labels

ITEMS = 12


def moment(clicks: int, seed: int, liked: float = 0.0) -> Moment:
    """Clicks by the second list; liked: how far items with an even row are preferred to others."""
    found = labels(clicks=clicks, weights=(0.0, 0.5, 0.0), items=ITEMS, seed=seed)
    rng = np.random.default_rng([seed, 1])
    even = found.rows % 2 == 0
    if liked:
        score = (0.5 * found.logs[:, 1] + liked * even).reshape(clicks, ITEMS)
        chance = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
        true = np.array([rng.choice(ITEMS, p=row) for row in chance])
        found = replace(found, hit=(np.arange(ITEMS) == true[:, None]).ravel())
    return Moment(
        found,
        cat=np.full((clicks, 5), 3, np.int32),
        cont=np.zeros((clicks, 8), np.float32),
        items=np.zeros((clicks, 50), np.int32),
        ages=np.zeros((clicks, 50), np.float32),
        counts=np.zeros((len(found.rows), 6), np.float32),
        shown=None,
        ends=np.arange(clicks) % 5 == 0,
    )


def catalogue() -> RankerItems:
    cat = np.full((ITEMS, 4), 3, np.int32)
    cat[:, 0] = np.arange(ITEMS) + 3
    return RankerItems(
        cat,
        np.zeros((3 + ITEMS, 128), np.float32),
        np.zeros((3 + ITEMS, 64), np.float32),
        (4, 4, 4, 4, 4, 3 + ITEMS, 4, 4, 4),
    )


def ndcg(labels: ClickLabels, score: np.ndarray) -> float:
    return w.ndcg(blended_ranks(labels, score)[0], labels.users)


def test_it_learns_what_the_lists_do_not_know() -> None:
    learnt, held_out = moment(1_200, 5, liked=2.0), moment(600, 6, liked=2.0)
    trained = train([learnt], catalogue(), ListVariant("learned"), seed=0)
    assert trained.epochs > 0 and min(trained.held_out) < trained.held_out[0] - 0.2
    base = learning.base_inputs(held_out.labels) @ trained.base.astype(np.float32)
    with_net = ndcg(held_out.labels, scores(trained, held_out, catalogue()))
    assert with_net > ndcg(held_out.labels, base) + 0.05
    numbers = train([learnt], catalogue(), ListVariant("none"), seed=0)
    blind = ndcg(held_out.labels, scores(numbers, held_out, catalogue()))
    assert blind < with_net - 0.05, "no number tells even rows"


def test_where_lists_say_all_it_stays_near_the_base() -> None:
    learnt, held_out = moment(600, 7), moment(600, 8)
    trained = train([learnt], catalogue(), ListVariant("learned"), seed=0)
    base = learning.base_inputs(held_out.labels) @ trained.base.astype(np.float32)
    given = scores(trained, held_out, catalogue())
    assert ndcg(held_out.labels, given) == pytest.approx(ndcg(held_out.labels, base), abs=0.03)


def test_without_visitors_that_end_it_nothing_is_learnt() -> None:
    learnt = replace(moment(50, 9, liked=2.0), ends=np.zeros(50, bool))
    trained = train([learnt], catalogue(), ListVariant("learned"), seed=0)
    base = learning.base_inputs(learnt.labels) @ trained.base.astype(np.float32)
    assert trained.held_out == [0.0]
    np.testing.assert_array_equal(scores(trained, learnt, catalogue()), base)


def test_the_seed_decides_a_training() -> None:
    learnt = moment(150, 10, liked=2.0)
    first, again, other = (
        scores(train([learnt], catalogue(), ListVariant("none"), seed), learnt, catalogue())
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_is_not_scored_stays_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = moment(150, 11, liked=2.0)
    for residual in (True, False):
        trained = train([learnt], catalogue(), ListVariant("learned", residual=residual), seed=0)
        base = learning.base_inputs(learnt.labels) @ trained.base.astype(np.float32)
        monkeypatch.setattr(learning, "SCORED", 5)
        given = scores(trained, learnt, catalogue()).reshape(-1, ITEMS)
        monkeypatch.undo()
        order = np.argsort(-base.reshape(-1, ITEMS), axis=1, kind="stable")
        behind = np.take_along_axis(given, order, axis=1)[:, 5:]
        assert (np.diff(behind, axis=1) <= 0).all(), "in the order of the base"
        if not residual:
            assert (behind.max(axis=1) < np.sort(given, axis=1)[:, -5]).all()


def test_drawn_candidates_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "FIRST", 4)
    monkeypatch.setattr(learning, "OTHERS", 2)
    found = labels(clicks=40, weights=(0.0, 0.0, 0.0), items=ITEMS)
    lost = found.query == 3
    found = replace(found, hit=found.hit & ~lost)
    score = found.logs[:, 1].copy()
    rows, place, count = learnt_candidates(found, score, np.random.default_rng(0))
    assert place[3] == -1 and (np.delete(place, 3) == 0).all()
    for query in range(40):
        kept = rows[query] >= 0
        own = rows[query][kept]
        assert len(set(own.tolist())) == len(own)
        assert (found.query[own] == query).all()
        # all items of the list are stood for once
        assert np.exp(count[query][kept]).sum() == pytest.approx(ITEMS)
        first = np.argsort(-score[found.query == query])[:4] + query * ITEMS
        assert set(first.tolist()) <= set(own.tolist())
        if query != 3:
            assert found.hit[own[0]] and count[query][0] == 0
