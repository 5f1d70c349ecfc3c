"""The choice of a blend: the default stays unless another is surely better."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from recsys_assets.lib.blend import choice
from recsys_assets.lib.blend import weights as w
from recsys_assets.lib.blend.choice import (
    AS_IS,
    BY_QUALITY,
    LIST_NET,
    LISTWISE,
    MINIMUM_LABELS,
    NET_LABELS,
    PRIOR,
    PRIOR_LISTWISE,
    choose,
)
from recsys_assets.lib.blend.prior import fit_prior
from recsys_assets.lib.sources.list_net import OF_VISITOR, ListNet
from recsys_assets.lib.sources.stored import BY_SIMILARITY, BY_SOURCES
from recsys_assets.source_names import ALL_SOURCES, FOLLOW_UPS, IALS, RETRIEVAL
from recsys_assets_tests.support import small_labels
from recsys_assets_tests.support.small_labels import together


@pytest.fixture(autouse=True)
def of_other_shops(monkeypatch):
    """Let other shops say nothing, unless a test lets them; return the function that does."""

    def use(net: ListNet) -> None:
        monkeypatch.setattr(
            choice, "net_of_other_shops", lambda lists: net.of_lists(ALL_SOURCES, lists)
        )

    use(ListNet.read(np.zeros((len(ALL_SOURCES) + len(OF_VISITOR) + 2, 1), np.float32)))
    return use


@pytest.fixture(scope="module")
def both_lists_count() -> ListNet:
    """Return what two shops gave whose clicks are near in two lists at once."""
    return fit_prior({"one": together(900, seed=8), "two": together(900, seed=9)}, 7)


def as_is(labels) -> np.ndarray:
    return labels.ranks(labels.logs[:, 0])


def test_too_few_clicks_choose_nothing():
    labels = small_labels.labels(clicks=MINIMUM_LABELS - 1, weights=(0.0, 3.0, 0.0))
    found = choose(labels, as_is(labels), None, seed=7)
    assert found.figures["mode"] == BY_SIMILARITY and found.figures["chosen"] == AS_IS
    assert "49 held-out clicks are too few" in found.figures["why"]
    np.testing.assert_array_equal(found.ranks, as_is(labels))


def test_where_one_source_makes_the_clicks_it_weighs_most():
    labels = small_labels.labels(clicks=800, weights=(0.0, 3.0, 0.0))
    found = choose(labels, as_is(labels), None, seed=7).figures
    assert found["mode"] == BY_SOURCES
    assert max(found["weights"], key=lambda name: found["weights"][name]) == FOLLOW_UPS
    assert found["sources"][FOLLOW_UPS]["alone"] > found["sources"][IALS]["alone"]
    assert found["sources"][FOLLOW_UPS]["without"] < found["alternatives"][BY_QUALITY]["ndcg"]
    assert found["alternatives"][AS_IS]["difference"]["high"] < 0


def test_a_fit_takes_the_place_of_the_default_only_where_it_is_surely_better():
    """One list is right, and another is right when it is turned round: no softmax says that."""
    opposed = small_labels.labels(clicks=3_000, weights=(2.0, -2.0, 0.0))
    found = choose(opposed, as_is(opposed), None, seed=7).figures
    assert found["chosen"] == LISTWISE and found["weights"][FOLLOW_UPS] < -0.5
    assert found["alternatives"][LISTWISE]["difference"]["low"] > 0
    # a net says the same here, and costs more
    assert found["alternatives"][LIST_NET]["difference"]["low"] > 0
    alike = small_labels.labels(clicks=200, weights=(1.0, 1.0, 1.0))
    found = choose(alike, as_is(alike), None, seed=7).figures
    assert found["chosen"] == BY_QUALITY and "no alternative is surely above" in found["why"]


def test_a_source_of_chance_is_left_out_and_retrieval_stays():
    labels = small_labels.labels(clicks=1_500, weights=(0.0, 3.0, 0.0), seed=5)
    found = choose(labels, as_is(labels), None, seed=7).figures
    assert found["sources"][RETRIEVAL]["kept"] and RETRIEVAL in found["weights"]
    assert found["sources"][FOLLOW_UPS]["kept"]
    dropped = {name for name, one in found["sources"].items() if not one["kept"]}
    assert set(found["weights"]) == set(found["sources"]) - dropped


@pytest.mark.parametrize(
    ("blends", "expected"),
    [
        # nDCG@10 of the blend of both, of follow-ups, of iALS, and of neither
        ((1.0, 0.9961, 0.9, 0.5), {FOLLOW_UPS}),
        ((1.0, 0.9941, 0.9, 0.5), {FOLLOW_UPS, IALS}),
        ((1.0, 1.0, 1.0, 0.5), {IALS}),  # the same in two lists: one stays
        ((1.0, 0.997, 0.996, 0.994), {FOLLOW_UPS}),  # what both cost counts together
        ((1.0, 1.1, 0.9, 1.096), set()),  # the best blend may be one of few
        ((1.0, 1.1, 0.9, 1.094), {FOLLOW_UPS}),
    ],
)
def test_a_source_that_adds_less_than_half_a_percent_is_left_out(monkeypatch, blends, expected):
    both, follow_ups, ials, neither = blends
    values = {2: {"": both}, 1: {FOLLOW_UPS: follow_ups, IALS: ials}, 0: {"": neither}}

    def blended(labels):
        others = [name for name in labels.names if name != RETRIEVAL]
        return values[len(others)][others[0] if len(others) == 1 else ""]

    monkeypatch.setattr(choice, "_blended", blended)
    labels = small_labels.labels(clicks=60, weights=(1.0, 1.0, 1.0))
    found = choose(labels, as_is(labels), None, seed=7).figures
    assert {name for name, one in found["sources"].items() if one["kept"]} - {RETRIEVAL} == expected


@pytest.mark.parametrize("ranker", [3.0, 0.0])
def test_a_ranker_weighs_as_much_as_it_knows(ranker):
    labels = small_labels.labels(clicks=2_000, weights=(0.0, 1.0, 0.0))
    rng = np.random.default_rng(1)
    logit = np.where(labels.hit, ranker, 0.0) + rng.normal(size=len(labels.rows))
    found = choose(labels, as_is(labels), logit.astype(np.float32), seed=7).figures
    share = max(abs(value) for value in found["weights"].values())
    # weights are in units of the logit: a ranker that knows nothing makes them large
    assert share < 3 if ranker else share > 3


def test_each_fold_has_the_weights_that_the_other_gave():
    labels = small_labels.labels(clicks=600, weights=(0.5, 2.0, 0.0))
    found = choose(labels, as_is(labels), None, seed=7).figures
    first, second = found["fold_weights"]
    assert set(first) == set(second) == set(found["weights"]) and first != second


def test_where_no_source_adds_anything_retrieval_stays_alone():
    labels = small_labels.labels(clicks=300, weights=(3.0, 0.0, 0.0))
    listed = labels.listed.copy()
    listed[:, 1:] = False  # empty lists
    logs = labels.logs.copy()
    logs[:, 1:] = logs.min()
    empty = dataclasses.replace(labels, listed=listed, logs=logs)
    found = choose(empty, as_is(empty), None, seed=7)
    assert found.figures["mode"] == BY_SIMILARITY and found.figures["weights"] == {}
    assert found.figures["why"] == "no source adds half a percent"
    assert found.figures["sources"][IALS]["alone"] == 0.0, "an empty list finds nothing"


def test_an_item_that_the_ranker_does_not_get_is_not_shown():
    """The last of a list by rank would be first by the ranker, but only ten items reach it."""
    labels = small_labels.labels(clicks=600, weights=(1.0, 1.0, 1.0))
    by_rank = labels.logs.sum(axis=1).reshape(600, 12)
    last = by_rank.argmin(axis=1)
    logit = np.zeros((600, 12), np.float32)
    logit[np.arange(600), last] = 20.0
    whole = choose(labels, as_is(labels), logit.ravel(), seed=7)
    cut = choose(labels, as_is(labels), logit.ravel(), seed=7, ranked=10)
    assert (cut.ranks == labels.items + 1).any() and (whole.ranks <= 12).all()


def test_the_weights_are_those_that_were_judged():
    """With a ranker, the default weights are in units of its least say."""
    labels = small_labels.labels(clicks=600, weights=(0.0, 2.0, 0.0))
    noise = np.random.default_rng(1).normal(size=len(labels.rows)).astype(np.float32)
    found = choose(labels, as_is(labels), noise, seed=7)
    weights = np.array([found.figures["weights"].get(name, 0.0) for name in labels.names])
    everyone = labels.ranks(noise + labels.logs @ weights.astype(np.float32))
    # the folds' weights differ a little from those of all visitors
    assert np.mean(everyone == found.ranks) > 0.7


def test_a_net_is_chosen_where_lists_say_something_only_together():
    labels = together(1_200)
    found = choose(labels, as_is(labels), None, seed=7)
    assert found.figures["chosen"] == LIST_NET
    assert "nDCG@10 of list_net − prior is +0." in found.figures["why"]
    served, *of_folds = found.nets
    assert len(of_folds) == len(found.figures["fold_weights"])
    assert served.out.any() and len(found.figures["net"]["epochs"]) > 1
    # the nets of both folds are judged on the visitors of the other
    inputs = labels.net_inputs
    scores = np.zeros(len(labels.rows), np.float32)
    for fold, net in enumerate(of_folds):
        weights = np.array(list(found.figures["fold_weights"][fold].values()), np.float32)
        inside = labels.fold[labels.query] == fold
        scores[inside] = (labels.logs @ weights + net.of(inputs))[inside]
    np.testing.assert_array_equal(labels.ranks(scores), found.ranks)


def test_a_net_beside_a_ranker_is_in_units_of_its_logit():
    labels = together(1_200)
    logit = np.random.default_rng(5).normal(size=len(labels.rows)).astype(np.float32)
    found = choose(labels, as_is(labels), logit, seed=7)
    assert found.figures["chosen"] == LIST_NET
    inputs = labels.net_inputs
    scores = np.zeros(len(labels.rows), np.float32)
    for fold, net in enumerate(found.nets[1:]):
        weights = np.array(list(found.figures["fold_weights"][fold].values()), np.float32)
        inside = labels.fold[labels.query] == fold
        scores[inside] = (logit + labels.logs @ weights + net.of(inputs))[inside]
    assert (labels.ranks(scores) == found.ranks).mean() > 0.99  # rounding


def test_few_clicks_try_no_net():
    labels = together(NET_LABELS - 1)
    found = choose(labels, as_is(labels), None, seed=7)
    assert LIST_NET not in found.figures["alternatives"]
    assert found.figures["chosen"] == BY_QUALITY and found.figures["net"] is None


def test_some_clicks_start_from_what_other_shops_gave(
    of_other_shops, both_lists_count, monkeypatch
):
    monkeypatch.setattr(choice, "NET_LABELS", 250)
    of_other_shops(both_lists_count)
    labels = together(255)
    found = choose(labels, as_is(labels), None, seed=7)
    assert found.figures["chosen"] == PRIOR
    assert found.figures["alternatives"][PRIOR]["difference"] is None, "it is the default"
    assert found.figures["alternatives"][BY_QUALITY]["difference"]["high"] < 0
    served, *of_folds = found.nets
    for net in of_folds:  # no visitor of this shop gave it
        np.testing.assert_array_equal(net.stacked, served.stacked)
    assert found.figures["net"] is None, "nothing was fitted here"
    # what is judged is what serves: the default weights of the others, and the net
    added = served.of(labels.net_inputs)
    scores = np.zeros(len(labels.rows), np.float32)
    for fold in range(len(of_folds)):
        weights = np.array(list(found.figures["fold_weights"][fold].values()), np.float32)
        inside = labels.fold[labels.query] == fold
        scores[inside] = (labels.logs @ weights + added)[inside]
    np.testing.assert_array_equal(labels.ranks(scores), found.ranks)


def test_the_say_of_other_shops_is_fitted_where_clicks_are_enough(
    of_other_shops, both_lists_count, monkeypatch
):
    """Here an item that two lists have is less wanted, so the weight of the net turns round."""
    monkeypatch.setattr(choice, "NET_LABELS", 1_000)
    against = dataclasses.replace(both_lists_count, out=-both_lists_count.out)
    of_other_shops(against)
    labels = together(900)
    found = choose(labels, as_is(labels), None, seed=7)
    assert found.figures["chosen"] == PRIOR_LISTWISE and found.figures["net"] is None
    served, *of_folds = found.nets
    assert (served.out * against.out <= 0).all() and served.out.any()
    inputs = labels.net_inputs
    scores = np.zeros(len(labels.rows), np.float32)
    for fold, net in enumerate(of_folds):
        weights = np.array(list(found.figures["fold_weights"][fold].values()), np.float32)
        inside = labels.fold[labels.query] == fold
        scores[inside] = (labels.logs @ weights + net.of(inputs))[inside]
    assert (labels.ranks(scores) == found.ranks).mean() > 0.99  # rounding


def test_a_shop_that_is_unlike_the_others_does_without_them(of_other_shops, both_lists_count):
    against = dataclasses.replace(both_lists_count, out=-16 * both_lists_count.out)
    of_other_shops(against)
    labels = together(NET_LABELS)
    found = choose(labels, as_is(labels), None, seed=7)
    assert found.figures["chosen"] != PRIOR
    assert "− prior is +0." in found.figures["why"]


def test_few_clicks_values_or_a_ranker_have_another_default(of_other_shops, both_lists_count):
    of_other_shops(both_lists_count)
    labels, few = together(NET_LABELS), together(NET_LABELS - 1)
    logit = np.zeros(len(labels.rows), np.float32)
    valued = dataclasses.replace(labels, value=np.ones(NET_LABELS))
    defaults = []
    for one, log_odds in ((labels, None), (few, None), (valued, None), (labels, logit)):
        figures = choose(one, as_is(one), log_odds, seed=7).figures["alternatives"]
        defaults.append([name for name, own in figures.items() if own["difference"] is None])
    assert defaults == [[PRIOR], [BY_QUALITY], [BY_QUALITY], [LISTWISE]]


def test_a_blend_is_chosen_by_the_value_of_the_clicks():
    """Most clicks follow one list, the valued ones another that is right when it is turned round.

    Without values, the default is good enough; with them, only a fit serves the valued clicks.
    """
    clicks = 1_600
    first = small_labels.labels(clicks, (3.0, 0.0, 0.0), seed=3)
    second = small_labels.labels(clicks, (0.0, -3.0, 0.0), seed=3)
    odd, user = np.arange(clicks) % 4 == 3, np.arange(clicks) // 4
    plain = dataclasses.replace(
        first, hit=np.where(odd[first.query], second.hit, first.hit), users=user, fold=user % 2
    )
    labels = dataclasses.replace(plain, value=np.where(odd, 50.0, 1.0))
    valued, unvalued = (choose(one, as_is(one), None, seed=7) for one in (labels, plain))
    found = valued.figures
    assert found["valued"] and "valued" not in unvalued.figures
    assert found["chosen"] in (LISTWISE, LIST_NET) and "value-weighted nDCG@10" in found["why"]
    assert found["alternatives"][LISTWISE]["value_difference"]["low"] > 0
    assert "value_ndcg" not in unvalued.figures["alternatives"][LISTWISE]
    assert w.ndcg_of(labels, valued.ranks) > w.ndcg_of(labels, unvalued.ranks) + 0.01
    assert w.ndcg_of(plain, valued.ranks) < w.ndcg_of(plain, unvalued.ranks)


def test_clicks_without_value_choose_nothing():
    labels = small_labels.labels(clicks=300, weights=(0.0, 3.0, 0.0))
    labels = dataclasses.replace(labels, value=np.zeros(300))
    found = choose(labels, as_is(labels), None, seed=7).figures
    assert found["chosen"] == AS_IS and "0 held-out clicks are too few" in found["why"]
