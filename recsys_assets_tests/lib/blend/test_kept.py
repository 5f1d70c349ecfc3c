"""The weights that serve stay over a new day, unless its clicks choose surely better ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recsys_assets.lib.blend.choice import MINIMUM_LABELS, choose
from recsys_assets.lib.blend.kept import KEPT, kept_unless_surely_better
from recsys_assets.lib.blend.labels import ClickLabels
from recsys_assets.lib.evaluation.query_sources import FOLDS
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.list_net import OF_VISITOR, ListNet
from recsys_assets.lib.sources.sources import FoldIn, MostPopular, Neighbours
from recsys_assets.lib.sources.stored import BY_SIMILARITY, BY_SOURCES
from recsys_assets.source_names import FOLLOW_UPS, IALS, POPULARITY, RETRIEVAL
from recsys_assets_tests.support import small_labels

ITEMS = 12


def blend(weights: dict[str, float], net: ListNet | None = None) -> Blend:
    """A blend of small sources; what they list does not matter here."""
    factors = np.eye(ITEMS, 2, dtype=np.float32)
    made = {
        FOLLOW_UPS: Neighbours.of(
            FOLLOW_UPS, np.ones((ITEMS, 1), np.int32), np.ones((ITEMS, 1), np.float32), decay=0.5
        ),
        IALS: FoldIn(factors, np.eye(2), 1.0),
        POPULARITY: MostPopular(np.arange(3)),
    }
    sources = tuple(made[name] for name in weights if name != RETRIEVAL)
    return Blend(sources, weights, np.zeros(ITEMS, bool), net=net)


def settled(labels: ClickLabels, served: Blend | None, logit: np.ndarray | None = None):
    as_is = labels.ranks(labels.logs[:, 0])
    labels = replace(labels, logit=logit)
    settle = kept_unless_surely_better(served, seed=7)
    return settle(choose(labels, as_is, logit, seed=7), labels, as_is)


def test_right_weights_stay_and_serve_all_visitors():
    labels = small_labels.labels(clicks=600, weights=(0.0, 3.0, 0.0))
    served = blend({RETRIEVAL: 0.25, FOLLOW_UPS: 3.0, IALS: 0.0})
    found = settled(labels, served)
    figures = found.figures
    assert figures["mode"] == BY_SOURCES and figures["chosen"] == KEPT
    assert figures["weights"] == served.weights
    assert figures["fold_weights"] == [served.weights] * FOLDS
    assert figures["why"].startswith("the weights that serve stay: nDCG@10 of ")
    np.testing.assert_array_equal(
        found.ranks, labels.ranks(labels.logs @ np.array([0.25, 3.0, 0.0], np.float32))
    )
    assert set(figures["alternatives"]) == {KEPT, figures["runner_up"]}
    assert figures["alternatives"][KEPT]["difference"] is None


def test_weights_that_are_surely_worse_are_replaced():
    labels = small_labels.labels(clicks=600, weights=(0.0, 3.0, 0.0))
    wrong = blend({RETRIEVAL: 0.0, FOLLOW_UPS: 0.0, IALS: 1.0})
    figures = settled(labels, wrong).figures
    assert figures["chosen"] != KEPT and figures["runner_up"] == KEPT
    assert figures["weights"][FOLLOW_UPS] > max(figures["weights"].get(IALS, 0.0), 0.0)
    assert figures["alternatives"][figures["chosen"]]["difference"]["low"] > 0
    assert f"of {figures['chosen']} − kept is +" in figures["why"]


def test_few_clicks_replace_nothing():
    labels = small_labels.labels(clicks=MINIMUM_LABELS - 1, weights=(0.0, 3.0, 0.0))
    served = blend({RETRIEVAL: 0.5, FOLLOW_UPS: 1.0})
    figures = settled(labels, served).figures
    assert figures["chosen"] == KEPT and figures["weights"] == served.weights


def test_a_champion_without_sources_stays_without_until_some_are_surely_better():
    few = small_labels.labels(clicks=MINIMUM_LABELS - 1, weights=(0.0, 3.0, 0.0))
    found = settled(few, None)
    assert (found.figures["mode"], found.figures["chosen"]) == (BY_SIMILARITY, KEPT)
    np.testing.assert_array_equal(found.ranks, few.ranks(few.logs[:, 0]))
    many = small_labels.labels(clicks=600, weights=(0.0, 3.0, 0.0))
    assert settled(many, None).figures["mode"] == BY_SOURCES


def test_a_net_stays_with_the_weights_in_units_of_the_logit():
    labels = small_labels.labels(clicks=80, weights=(0.0, 3.0, 0.0), seed=8)
    rng = np.random.default_rng(5)
    net = ListNet(
        rng.normal(size=(2 + len(OF_VISITOR), 4)).astype(np.float32),
        rng.normal(size=4).astype(np.float32),
        rng.normal(size=4).astype(np.float32),
    )
    logit = rng.normal(size=len(labels.rows)).astype(np.float32)
    served = blend({RETRIEVAL: 0.1, FOLLOW_UPS: 5.0}, net)
    found = settled(labels, served, logit)
    assert found.figures["chosen"] == KEPT and found.nets == (net,) * (1 + FOLDS)
    used = labels.without(IALS)
    scores = logit + used.logs @ np.array([0.1, 5.0], np.float32) + net.of(used.net_inputs)
    # float32 sums of another order
    assert (found.ranks == used.ranks(scores)).mean() > 0.97


def test_a_source_that_is_gone_changes_nothing():
    labels = small_labels.labels(clicks=200, weights=(0.0, 3.0, 0.0))
    served = blend({RETRIEVAL: 0.25, POPULARITY: 9.0, FOLLOW_UPS: 3.0})
    found = settled(labels, served)
    used = labels.without(IALS)
    np.testing.assert_array_equal(
        found.ranks, used.ranks(used.logs @ np.array([0.25, 3.0], np.float32))
    )
