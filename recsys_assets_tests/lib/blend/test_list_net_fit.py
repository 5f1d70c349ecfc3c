"""The fit of a blend's net: it finds what holds only together, and adds nothing without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys_assets.lib.blend import list_net_fit
from recsys_assets.lib.blend import weights as w
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.blend.list_net_fit import fit_net
from recsys_assets.lib.evaluation import list_metrics
from recsys_assets.lib.evaluation.measures import PRIMARY
from recsys_assets.lib.sources.list_net import ListNet
from recsys_assets_tests.support import small_labels
from recsys_assets_tests.support.small_labels import together


def added(labels: ClickLabels, learned: np.ndarray, base: np.ndarray) -> np.ndarray:
    inputs = labels.net_inputs
    return base + fit_net(labels, base, learned, 7).net.of(inputs)


def test_it_finds_what_holds_only_together():
    labels = together(1_500)
    learned = labels.fold == 0
    base = labels.logs @ w.listwise(labels, learned).astype(np.float32)
    judged = ~learned
    plain, found = labels.ranks(base), labels.ranks(added(labels, learned, base))
    difference = list_metrics.paired_difference(
        found[judged], plain[judged], labels.users[judged], PRIMARY, 7
    )
    assert difference["low"] > 0.005


def test_where_the_weights_say_all_it_loses_nothing_worth_a_word():
    labels = small_labels.labels(clicks=1_500, weights=(1.0, 0.5, 0.0))
    learned = labels.fold == 0
    base = labels.logs @ w.listwise(labels, learned).astype(np.float32)
    judged = ~learned
    plain, found = labels.ranks(base), labels.ranks(added(labels, learned, base))
    lost = w.ndcg(plain[judged], labels.users[judged]) - w.ndcg(found[judged], labels.users[judged])
    assert lost < 0.01


def test_it_does_not_see_the_clicks_of_others():
    """A net of one half of the visitors is the same, whatever the others click."""
    labels = together(300)
    learned = labels.fold == 0
    base = labels.logs.sum(axis=1)
    turned = labels.hit.reshape(300, 12).copy()
    turned[~learned] = turned[~learned, ::-1]
    other = replace(labels, hit=turned.ravel())
    first, second = (fit_net(one, base, learned, 7) for one in (labels, other))
    np.testing.assert_array_equal(first.net.stacked, second.net.stacked)
    assert len(first.epochs) == len(first.held_out) == list_net_fit.PARTS


@pytest.mark.parametrize("visitors", [0, list_net_fit.PARTS - 1])
def test_of_too_few_visitors_nothing_is_learnt(visitors):
    labels = together(30)
    learned = np.arange(30) < visitors
    found = fit_net(labels, labels.logs.sum(axis=1), learned, 7)
    assert found.epochs == [] and not found.net.out.any()


def test_the_slope_is_that_of_the_loss():
    labels = together(6)
    rng = np.random.default_rng(2)
    lists = list_net_fit._Lists(
        labels.start,
        labels.logs,
        rng.normal(size=len(labels.rows)).astype(np.float32),
        labels.hit,
        rng.random(6).astype(np.float32),
    )
    net = ListNet(*(rng.normal(size=s).astype(np.float32) for s in ((3, 5), (5,), (5,))))
    _, slope = lists.loss(net)
    found = list_net_fit._gradient(net, lists.inputs, slope)
    values = net.stacked
    for at in [(0, 0), (2, 4), (3, 1), (4, 2)]:
        step = np.zeros_like(values)
        step[at] = 1e-2
        above, below = (lists.loss(ListNet.read(values + sign * step))[0] for sign in (1, -1))
        np.testing.assert_allclose(found[at], (above - below) / 2e-2, rtol=0.03, atol=0.02)


def test_a_net_learns_the_valued_clicks():
    """Without values the clicks of chance outnumber those that hold only together."""
    labels = together(1_600)
    chance = small_labels.labels(clicks=1_600, weights=(0.0, 0.0, 0.0), seed=8)
    valued, user = np.arange(1_600) % 4 == 0, np.arange(1_600) // 4
    labels = replace(
        labels,
        hit=np.where(valued[labels.query], labels.hit, chance.hit),
        users=user,
        fold=user % 2,
        value=np.where(valued, 20.0, 1.0),
    )
    learned = labels.fold == 0
    judged, base = ~learned & valued, np.zeros(len(labels.rows), np.float32)
    with_values, without = (
        labels.ranks(added(one, learned, base))[judged]
        for one in (labels, replace(labels, value=None))
    )
    assert w.ndcg(with_values, user[judged]) > w.ndcg(without, user[judged]) + 0.01
