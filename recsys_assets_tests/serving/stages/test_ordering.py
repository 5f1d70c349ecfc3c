"""The order of an answer: blend, sampling, novelty, the cap of a category; and the answer's last
form.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from recsys_assets.files import FileCorrupt
from recsys_assets.lib.ranking.ordering import (
    blend,
    capped,
    gumbel_top_k,
    highest_first,
    maximal_marginal_relevance,
)
from recsys_assets.lib.ranking.places import NewItemPlaces, turn
from recsys_assets.serving.stages.answer import Placing
from recsys_assets.serving.stages.catalogue import UnknownItemIndex
from recsys_assets.serving.stages.decoding import ItemIdDecoder
from recsys_assets.serving.stages.ordering import Ordering, SoftmaxSampling, placing
from recsys_assets.serving.stages.stage import StageInputInvalid, Tensors
from recsys_assets.settings import Settings
from recsys_assets_tests.support.stage_runs import run

#: Content of sampling.json.
SAMPLING = {
    "ranking_topk": 5,
    "diversity": "off",
    "temperature": 20.0,
    "mmr_lambda": 0.7,
    "category_cap": 0,
    "retrieval_weight": 3.0,
}


def sampler(
    topk: int,
    diversity: str = "off",
    weight: float = 0.0,
    *,
    cap: int = 0,
    mmr_lambda: float = 0.7,
    places: NewItemPlaces | None = None,
) -> SoftmaxSampling:
    return SoftmaxSampling(Ordering(topk, diversity, 20.0, mmr_lambda, cap, weight), places)


def order(
    stage: SoftmaxSampling,
    kept,
    scores,
    similarity=None,
    *,
    categories=None,
    vectors=None,
    top_k: int = -1,
    seed: int = -1,
    counts=None,
    visitors=None,
    moment: int = 1_760_000_000,
) -> Tensors:
    """Of one visitor, or of several with as many items as ``counts`` says."""
    similarity = np.zeros(len(scores)) if similarity is None else similarity
    kept = np.array(kept, np.int32)
    item_cat = np.zeros((len(kept), 4), np.int32)
    item_cat[:, 1] = np.arange(len(kept)) if categories is None else categories
    counts = np.array([len(kept)] if counts is None else counts, np.int32)
    return run(
        stage,
        kept=kept,
        scores=np.array(scores, np.float32),
        kept_similarity=np.array(similarity, np.float32),
        kept_counts=counts,
        item_cat=item_cat,
        context_top_k=np.full(len(counts), top_k, np.int32),
        item_embeddings=np.zeros((len(kept), 128), np.float32) if vectors is None else vectors,
        context_seed=np.full(len(counts), seed, np.int64),
        visitor_id=np.array(["ann"] * len(counts) if visitors is None else visitors, object),
        context_timestamp=np.full(len(counts), moment, np.int64),
    )


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_highest_first_and_ties_keep_retrievals_order(weight):
    found = order(sampler(3, weight=weight), [9, 8, 7, 6], [0.1, 0.5, 0.9, 0.5])
    assert found["sampled_items"].tolist() == [7, 8, 6]
    assert found["sampled_scores"].tolist() == np.float32([0.9, 0.5, 0.5]).tolist()
    assert highest_first(np.zeros(5, np.float32), 9).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("values", [1, 2, 40, 10_000])
def test_the_order_is_that_of_a_stable_sort(values):
    random = np.random.default_rng(values)
    for length in (0, 1, 2, 3, 17, 300):
        scores = random.integers(values, size=length) / values
        for given in (
            scores,
            scores.astype(np.float32),
            np.where(random.random(length) < 0.1, np.nan, scores),
            -0.0 * scores,
        ):
            for topk in (1, 10, 1_000):
                assert (
                    highest_first(given, topk).tolist()
                    == np.argsort(-given, kind="stable")[:topk].tolist()
                )


def test_blend_by_hand_and_its_order():
    scores, similarity = np.float32([0.5, 0.2, 0.4]), np.float32([0.25, 1.0, 0.75])
    # logits 0, ln(1/4) and ln(2/3); behind the nearest by .75, 0 and .25
    expected = [1 / (1 + np.exp(2 * 0.75)), 0.2, 1 / (1 + 1.5 * np.exp(2 * 0.25))]
    np.testing.assert_allclose(blend(scores, similarity, 2.0), expected, rtol=1e-6)
    found = order(sampler(3, weight=2.0), [9, 8, 7], scores, similarity)
    assert found["sampled_items"].tolist() == [7, 8, 9]
    np.testing.assert_allclose(found["sampled_scores"], np.sort(expected)[::-1], rtol=1e-6)
    assert (
        found["sampled_scores"][1] == scores[1]
    )  # the nearest item keeps its probability to the bit
    alone = order(sampler(3, weight=0.0), [9, 8, 7], scores, similarity)
    assert alone["sampled_items"].tolist() == [9, 7, 8]
    assert alone["sampled_scores"].tolist() == np.float32([0.5, 0.4, 0.2]).tolist()


def test_several_lists_blend_as_each_alone():
    random = np.random.default_rng(6)
    scores, similarity, of = random.random(30), random.uniform(-1, 1, 30), np.arange(30) % 4
    nearest = np.array([similarity[of == n].max() for n in range(4)])
    together = blend(scores, similarity, 2.0, nearest[of])
    for n in range(4):
        np.testing.assert_array_equal(
            together[of == n], blend(scores[of == n], similarity[of == n], 2.0)
        )


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0, 10_000.0])
def test_blended_scores_descend_and_never_exceed_the_rankers(weight):
    random = np.random.default_rng(4)
    scores = np.concatenate([random.random(200), [0, 1, 1e-9, 1 - 1e-8]]).astype(np.float32)
    similarity = random.uniform(-1, 1, len(scores)).astype(np.float32)
    found = order(
        sampler(len(scores), weight=weight), range(3, 3 + len(scores)), scores, similarity
    )
    assert (np.diff(found["sampled_scores"]) <= 0).all()
    assert (found["sampled_scores"] <= scores[found["sampled_items"] - 3] + 1e-7).all()
    assert (found["sampled_scores"] >= 0).all() and sorted(found["sampled_items"]) == [
        *range(3, 3 + len(scores))
    ]
    nearest = 3 + similarity.argmax()
    assert found["sampled_scores"][found["sampled_items"] == nearest][0] == pytest.approx(
        scores[nearest - 3], abs=1e-7
    )


def test_more_weight_brings_the_list_nearer_to_retrievals_order():
    random = np.random.default_rng(9)
    scores, similarity = (
        random.random(50),
        np.sort(random.uniform(-1, 1, 50))[::-1],
    )  # retrieval's order: as given
    moved = [
        np.abs(
            order(sampler(50, weight=weight), range(3, 53), scores, similarity)["sampled_items"]
            - np.arange(3, 53)
        ).mean()
        for weight in (0.0, 1.0, 3.0, 100.0)
    ]
    assert moved == sorted(moved, reverse=True) and moved[0] > moved[2] > moved[3]


def test_no_candidate_gives_an_empty_order():
    for weight in (0.0, 3.0):
        assert order(sampler(3, weight=weight), [], [])["sampled_items"].tolist() == []


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_every_scored_item_has_its_blended_score_and_its_placing(weight):
    scores, similarity = [0.9, 0.2, 0.8, 0.5, 0.4], [0.1, 0.4, 0.0, 1.0, 0.9]
    found = order(sampler(2, weight=weight), [3, 4, 5, 6, 7], scores, similarity)
    blended = blend(np.float32(scores), np.float32(similarity), weight)
    np.testing.assert_array_equal(found["blended_scores"], blended.astype(np.float32))
    listed = set(np.argsort(-blended)[:2].tolist())
    assert found["placing"].tolist() == [
        Placing.LISTED if row in listed else Placing.RANKED_BELOW for row in range(5)
    ]


def test_a_better_item_that_is_not_listed_was_left_out_for_variety():
    # two of category 1 are better than the listed one of category 2; the last is worse than all
    capped_list = order(
        sampler(2, cap=1), [3, 4, 5, 6], [0.9, 0.8, 0.3, 0.1], categories=[1, 1, 2, 3]
    )
    assert capped_list["sampled_items"].tolist() == [3, 5]
    assert capped_list["placing"].tolist() == [
        Placing.LISTED,
        Placing.DIVERSITY,
        Placing.LISTED,
        Placing.RANKED_BELOW,
    ]
    vectors = np.zeros((3, 128), np.float32)
    vectors[[0, 1], 0] = vectors[2, 1] = 1  # the second is the first's twin
    novel = order(sampler(2, "mmr", mmr_lambda=0.5), [3, 4, 5], [0.9, 0.8, 0.3], vectors=vectors)
    assert novel["placing"].tolist() == [Placing.LISTED, Placing.DIVERSITY, Placing.LISTED]
    assert order(sampler(3), [], [])["placing"].tolist() == []
    assert placing(np.array([0.5, 0.5]), np.array([0])).tolist() == [
        Placing.LISTED,
        Placing.RANKED_BELOW,
    ]  # equal is not better
    assert placing(np.array([0.5]), np.array([], np.int64)).tolist() == [Placing.RANKED_BELOW]


def test_placings_of_several_visitors_lie_one_after_the_other():
    found = order(sampler(1), [3, 4, 3, 4, 5], [0.1, 0.2, 0.9, 0.3, 0.2], counts=[2, 3])
    listed, below = int(Placing.LISTED), int(Placing.RANKED_BELOW)
    assert found["placing"].tolist() == [below, listed, listed, below, below]
    assert found["blended_scores"].tolist() == np.float32([0.1, 0.2, 0.9, 0.3, 0.2]).tolist()


def test_diversity_samples_without_replacement_by_softmax_weights():
    """Frequencies of the first draw against the weights exp(temperature · score)."""
    scores, generator = np.array([0.30, 0.25, 0.20, 0.10], np.float32), np.random.default_rng(11)
    draws = np.array([gumbel_top_k(scores, 4, 20.0, generator) for _ in range(4_000)])
    assert (np.sort(draws, axis=1) == np.arange(4)).all()
    weights = np.exp(20.0 * scores)
    np.testing.assert_allclose(
        np.bincount(draws[:, 0], minlength=4) / len(draws), weights / weights.sum(), atol=0.03
    )


@pytest.mark.parametrize("cap", [0, 1, 2])
def test_the_propensity_is_the_frequency_of_the_draw(cap: int) -> None:
    """Lists of three: how often each is drawn, against the product of its propensities."""
    scores, categories = np.array([0.30, 0.25, 0.20, 0.10, 0.28]), np.array([7, 7, 8, 8, 9])
    stage, draws = sampler(3, "sampling", cap=cap), 6_000
    lists: dict[tuple[int, ...], list[float]] = {}
    for seed in range(draws):
        found = order(stage, range(3, 8), scores, categories=categories, seed=seed)
        lists.setdefault(tuple(found["sampled_items"].tolist()), []).append(
            float(found["sampled_propensities"].prod())
        )
    expected = {drawn: given[0] for drawn, given in lists.items()}
    assert all(set(given) == {expected[drawn]} for drawn, given in lists.items())
    assert sum(expected.values()) == pytest.approx(1, abs=0.01)  # all lists but the rarest
    for drawn, given in lists.items():
        assert len(given) / draws == pytest.approx(expected[drawn], abs=0.02)


def test_what_was_not_drawn_has_no_propensity() -> None:
    for diversity in ("off", "mmr"):
        found = order(sampler(3, diversity), [3, 4, 5], [0.3, 0.2, 0.1])
        assert found["sampled_propensities"].tolist() == [0, 0, 0]
    # beyond the cap, because no other category is left
    found = order(sampler(3, "sampling", cap=1), [3, 4], [0.3, 0.2], categories=[7, 7], seed=1)
    assert found["sampled_propensities"][0] > 0 and found["sampled_propensities"][1] == 0
    assert order(sampler(3, "sampling"), [], [])["sampled_propensities"].tolist() == []
    # a young item that got a reserved place
    young = NewItemPlaces(10, np.arange(30) == 29, 20)
    scores = np.linspace(0.5, 0, 30)
    plain = order(sampler(10, "sampling"), range(3, 33), scores, seed=5)
    placed = order(sampler(10, "sampling", places=young), range(3, 33), scores, seed=5)
    assert placed["sampled_items"].tolist() == [*plain["sampled_items"][:9].tolist(), 32]
    assert placed["sampled_propensities"].tolist() == [
        *plain["sampled_propensities"][:9].tolist(),
        0,
    ]


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_diversity_mode_keeps_blended_scores_with_their_items(weight):
    scores, similarity = (
        np.linspace(0, 1, 20, dtype=np.float32),
        np.linspace(1, -1, 20, dtype=np.float32),
    )
    stage = sampler(10, "sampling", weight)
    first, second, again = (
        order(stage, range(3, 23), scores, similarity, seed=seed) for seed in (1, 2, 1)
    )
    assert again["sampled_items"].tolist() == first["sampled_items"].tolist()
    assert first["sampled_items"].tolist() != second["sampled_items"].tolist()
    blended = blend(scores, similarity, weight).astype(np.float32)
    for found in (first, second):
        assert len(set(found["sampled_items"].tolist())) == 10
        np.testing.assert_array_equal(found["sampled_scores"], blended[found["sampled_items"] - 3])


def test_diversity_draws_by_the_blended_scores():
    """Equal probabilities: without retrieval's part each item comes first as often, with it the
    nearest does.
    """

    def firsts(weight: float) -> np.ndarray:
        stage = sampler(1, "sampling", weight)
        drawn = [
            order(stage, [3, 4], [0.5, 0.5], [0.0, 1.0], seed=n)["sampled_items"][0]
            for n in range(2_000)
        ]
        return np.bincount(drawn, minlength=5)[3:] / 2_000

    np.testing.assert_allclose(firsts(0.0), [0.5, 0.5], atol=0.04)
    far, near = 20 / (1 + np.exp(0.4)), 10.0  # temperature times the blended scores
    np.testing.assert_allclose(
        firsts(0.4), np.exp([far - near, 0]) / np.exp([far - near, 0]).sum(), atol=0.04
    )


@pytest.mark.parametrize(
    ("scores", "similarity", "fault"),
    [
        (2, 3, "scores must be as many as kept, got 2 and 3"),
        (3, 4, "kept_similarity must be as many as kept, got 4 and 3"),
    ],
)
def test_scores_and_similarities_must_match_their_items(scores, similarity, fault):
    with pytest.raises(StageInputInvalid, match=fault):
        order(sampler(3, weight=3.0), range(3), np.zeros(scores), np.zeros(similarity))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"ranking_topk": 0}, "ranking_topk must be a whole number ≥ 1, got 0"),
        ({"ranking_topk": True}, "ranking_topk must be"),
        ({"diversity": True}, "diversity must be 'off', 'sampling' or 'mmr', got True"),
        ({"temperature": 0}, "temperature must be a finite number > 0"),
        ({"temperature": None}, "temperature must be .*, got nothing"),
        ({"mmr_lambda": 1.5}, "mmr_lambda must be a number from 0 to 1"),
        ({"category_cap": -1}, "category_cap must be a whole number ≥ 0"),
        ({"retrieval_weight": -0.5}, "retrieval_weight must be a finite number ≥ 0"),
        ({"retrieval_weight": float("inf")}, "retrieval_weight must be"),
        ({"retrieval_weight": "3"}, "retrieval_weight must be"),
        ({"new_item_places": 9}, "new_item_places must be 0, or a whole number from 10 to 50"),
        ({"new_item_places": 51}, "new_item_places must be"),
        ({"new_item_places": 12.0}, "new_item_places must be"),
    ],
)
def test_a_senseless_sampling_file_is_refused(tmp_path, change, fault):
    given = {**SAMPLING, **change}
    (tmp_path / "sampling.json").write_text(
        json.dumps({k: v for k, v in given.items() if v is not None})
    )
    with pytest.raises(FileCorrupt, match=fault):
        SoftmaxSampling.open(tmp_path, Settings(), 1)


# --- as many as asked for, of several visitors
@pytest.mark.parametrize(("asked", "given"), [(-1, 4), (1, 1), (4, 4), (99, 4)])
def test_no_more_than_asked_for_and_than_the_release_gives(asked, given):
    assert order(sampler(4), range(3, 13), np.linspace(1, 0, 10), top_k=asked)[
        "sampled_counts"
    ].tolist() == [given]


@pytest.mark.parametrize("diversity", ["off", "sampling", "mmr"])
def test_visitors_of_a_batch_are_ordered_as_alone(diversity):
    random, stage, counts = (
        np.random.default_rng(2),
        sampler(5, diversity, 2.0, cap=2),
        [7, 0, 40, 3],
    )
    items, scores, similarity = random.integers(3, 99, 50), random.random(50), random.random(50)
    categories, vectors = (
        random.integers(0, 5, 50),
        random.normal(size=(50, 128)).astype(np.float32),
    )
    found = order(
        stage,
        items,
        scores,
        similarity,
        categories=categories,
        vectors=vectors,
        seed=5,
        counts=counts,
    )
    assert found["sampled_counts"].tolist() == [5, 0, 5, 3]
    ends = np.cumsum(counts)
    alone = [
        order(
            stage,
            items[part],
            scores[part],
            similarity[part],
            categories=categories[part],
            vectors=vectors[part],
            seed=5,
        )
        for part in (slice(end - count, end) for end, count in zip(ends, counts, strict=True))
    ]
    for name in ("sampled_items", "sampled_scores"):
        assert found[name].tobytes() == np.concatenate([one[name] for one in alone]).tobytes()


# --- category cap
def test_a_category_has_no_more_than_its_share_while_others_have_items():
    categories = [1, 1, 1, 1, 2, 1, 3, 2]
    found = order(sampler(8, cap=2), range(3, 11), np.linspace(1, 0.3, 8), categories=categories)
    assert found["sampled_items"].tolist() == [
        3,
        4,
        7,
        9,
        10,
        5,
        6,
        8,
    ]  # the surplus of category 1 comes last
    short = order(sampler(3, cap=2), range(3, 11), np.linspace(1, 0.3, 8), categories=categories)
    assert short["sampled_items"].tolist() == [3, 4, 7]


def test_a_cap_makes_no_list_shorter():
    for diversity in ("off", "sampling", "mmr"):
        found = order(
            sampler(6, diversity, cap=1), range(3, 9), np.linspace(1, 0.5, 6), categories=[4] * 6
        )
        assert sorted(found["sampled_items"].tolist()) == [3, 4, 5, 6, 7, 8]


def test_a_capped_order_is_a_permutation():
    random = np.random.default_rng(8)
    positions, categories = random.permutation(60), random.integers(0, 4, 60)
    for cap in (0, 1, 3, 100):
        found = capped(positions, categories, cap)
        assert sorted(found.tolist()) == list(range(60))
        if cap:
            assert (np.bincount(categories[found[: 4 * cap]]) <= cap).all() or cap == 100
    assert capped(positions, categories, 0).tolist() == positions.tolist()


# --- maximal marginal relevance
def unit(*angles: float) -> np.ndarray:
    vectors = np.zeros((len(angles), 128), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    return vectors


def test_mmr_by_hand():
    scores, vectors = np.array([0.8, 0.76, 0.4]), unit(0, 0.1, np.pi / 2)
    # after the first: .5 · .95 − .5 · cos .1 < 0 and .5 · .5 − 0: the one that is like nothing so
    # far
    assert maximal_marginal_relevance(scores, vectors, 3, 0.5, np.zeros(3)).tolist() == [0, 2, 1]
    assert maximal_marginal_relevance(scores, vectors, 2, 1.0, np.zeros(3)).tolist() == [0, 1]


def test_mmr_alone_by_relevance_is_highest_first_and_lengths_do_not_matter():
    random = np.random.default_rng(4)
    scores, vectors = random.random(80), random.normal(size=(80, 128)).astype(np.float32)
    assert (
        maximal_marginal_relevance(scores, vectors, 20, 1.0, np.zeros(80)).tolist()
        == highest_first(scores, 20).tolist()
    )
    longer = vectors * random.uniform(0.5, 2, (80, 1)).astype(np.float32)
    plain, scaled = (
        maximal_marginal_relevance(scores, given, 20, 0.6, np.zeros(80)).tolist()
        for given in (vectors, longer)
    )
    assert plain == scaled


def test_mmr_varies_a_list_of_twins():
    """Pairs of equal items: relevance alone shows both of a pair, novelty one of each."""
    vectors = np.repeat(np.random.default_rng(1).normal(size=(10, 128)), 2, axis=0).astype(
        np.float32
    )
    scores = np.repeat(np.linspace(1, 0.6, 10), 2)
    found = (
        order(sampler(10, "mmr", mmr_lambda=0.5), range(3, 23), scores, vectors=vectors)[
            "sampled_items"
        ]
        - 3
    )
    assert len({item // 2 for item in found.tolist()}) == 10
    assert len({item // 2 for item in highest_first(scores, 10).tolist()}) == 5


def test_mmr_takes_items_without_content_and_scores_of_zero():
    found = maximal_marginal_relevance(
        np.zeros(4), np.zeros((4, 128), np.float32), 9, 0.5, np.zeros(4)
    )
    assert sorted(found.tolist()) == [0, 1, 2, 3]
    assert (
        maximal_marginal_relevance(
            np.zeros(0), np.zeros((0, 128), np.float32), 9, 0.5, np.zeros(0)
        ).tolist()
        == []
    )


# --- places for new items
def places(*rows: int, every: int = 10, items: int = 40) -> NewItemPlaces:
    young = np.zeros(items, bool)
    young[list(rows)] = True
    return NewItemPlaces(every, young, 20)


def test_the_best_young_item_has_the_last_of_ten_places():
    scores = np.linspace(1, 0.5, 30)
    plain = order(sampler(20), range(3, 33), scores)
    found = order(sampler(20, places=places(24, 27, 15)), range(3, 33), scores)
    expected = [*range(3, 12), 18, *range(12, 18), 19, 20, 21, 27]
    assert found["sampled_items"].tolist() == expected
    assert plain["sampled_items"].tolist() == [*range(3, 23)]
    # each item has its own score, so that those of a list with places do not descend
    np.testing.assert_array_equal(
        found["sampled_scores"], np.float32(scores)[np.array(expected) - 3]
    )
    reasons = dict(zip(range(3, 33), found["placing"].tolist(), strict=True))
    assert {item for item, reason in reasons.items() if reason == Placing.LISTED} == {*expected}
    assert [item for item, reason in reasons.items() if reason == Placing.NEW_ITEM] == [22]
    assert reasons[23] == Placing.RANKED_BELOW


def test_few_places_are_given_to_some_visitors_for_an_hour():
    scores, given = np.linspace(1, 0.5, 30), places(24, every=50)
    names = [f"user-{n}" for n in range(200)]
    found = order(
        sampler(20, places=given),
        np.tile(np.arange(3, 33), 200),
        np.tile(scores, 200),
        top_k=10,
        counts=[30] * 200,
        visitors=names,
    )
    lists = found["sampled_items"].reshape(200, 10)
    has = (lists == 27).any(axis=1)
    assert has.tolist() == [turn(name, 1_760_000_000, 50) >= 40 for name in names]
    assert (lists[has, 9] == 27).all() and 20 < has.sum() < 60
    # alone, a visitor has the same list
    one = order(sampler(20, places=given), range(3, 33), scores, top_k=10, visitors=[names[7]])
    assert one["sampled_items"].tolist() == lists[7].tolist()


@pytest.mark.parametrize("diversity", ["off", "sampling", "mmr"])
def test_places_keep_to_the_cap_of_a_category(diversity):
    random = np.random.default_rng(4)
    categories = random.integers(0, 12, 40)
    rows = [30, 31, 32, 33, 34, 35]
    given = places(*rows)
    scores = np.linspace(1, 0.2, 40)
    how = {"categories": categories, "seed": 3, "vectors": np.eye(40, 128, dtype=np.float32)}
    found = order(sampler(20, diversity, cap=2, places=given), range(3, 43), scores, **how)
    items = found["sampled_items"] - 3
    assert len(items) == 20 == len(set(items.tolist()))
    assert np.bincount(categories[items]).max() <= 2
    assert np.isin(items[:10], rows).any()


def test_places_are_for_items_of_the_release_alone():
    with pytest.raises(StageInputInvalid, match="kept must be below 43, got 43"):
        order(sampler(20, places=places(1)), [3, 43], [0.1, 0.2])
    assert order(sampler(20, places=places(1)), [], [])["sampled_items"].tolist() == []


def test_a_release_says_which_items_have_places(tmp_path):
    content = SAMPLING
    path = tmp_path / "sampling.json"
    path.write_text(json.dumps(content))
    older = SoftmaxSampling.open(tmp_path, Settings(), 1)
    assert order(older, [3, 99], [0.1, 0.2])["sampled_items"].tolist() == [99, 3]
    path.write_text(json.dumps({**content, "new_item_places": 10}))
    with pytest.raises(FileCorrupt, match=r"young.npy .*build the release again"):
        SoftmaxSampling.open(tmp_path, Settings(), 1)
    np.save(tmp_path / "young.npy", np.arange(40) == 39)
    opened = SoftmaxSampling.open(tmp_path, Settings(), 1)
    moments = [1_760_000_000 + 3600 * n for n in range(40)]
    lists = [
        order(opened, range(3, 43), np.linspace(1, 0, 40), moment=moment)["sampled_items"]
        for moment in moments
    ]
    has = [turn("ann", moment, 10) >= 5 for moment in moments]
    assert [one[-1] == 42 for one in lists] == has and 5 < sum(has) < 35


# --- the answer
def decode(stage: ItemIdDecoder, items, *, counts=None, degraded=(0, 0)) -> Tensors:
    items = np.array(items, np.int32)
    counts = np.array([len(items)] if counts is None else counts, np.int32)
    return run(
        stage,
        sampled_items=items,
        sampled_scores=np.linspace(1, 0, len(items), dtype=np.float32),
        sampled_propensities=np.linspace(0, 0.5, len(items), dtype=np.float32),
        sampled_counts=counts,
        query_release=np.array([7]),
        ranker_release=np.array([9]),
        user_degraded=np.full(len(counts), degraded[0], np.int32),
        filter_degraded=np.full(len(counts), degraded[1], np.int32),
    )


def test_decoder_gives_the_catalogues_ids_and_refuses_any_other_index():
    stage = ItemIdDecoder(["a", "ü:b"])
    found = decode(stage, [4, 3])
    assert found["ordered_ids"].tolist() == ["ü:b", "a"] and found["ordered_scores"].tolist() == [
        1,
        0,
    ]
    assert found["ordered_propensities"].tolist() == [0, 0.5]
    for index in (-1, 0, 2, 5):
        with pytest.raises(
            UnknownItemIndex, match=f"sampled_items holds {index}; items have 3 to 4"
        ):
            decode(stage, [3, index])


def test_an_answer_says_whose_items_they_are_by_which_models_and_what_was_missing():
    found = decode(ItemIdDecoder(["a", "b"]), [3, 4, 4], counts=[2, 0, 1], degraded=(1, 6))
    assert found["answer_info"].tolist() == [[2, 7, 9, 7], [0, 7, 9, 7], [1, 7, 9, 7]]
    with pytest.raises(StageInputInvalid, match="sampled_counts must add up to 3"):
        decode(ItemIdDecoder(["a", "b"]), [3, 4, 4], counts=[2, 2])


@pytest.mark.parametrize("ids", [[], ["a", "a"], [1], {"a": 1}])
def test_a_catalogue_that_is_no_list_of_distinct_ids_is_refused(tmp_path, ids):
    (tmp_path / "item_ids.json").write_text(json.dumps(ids))
    with pytest.raises(FileCorrupt, match=r"item_ids\.json must be a list of distinct strings"):
        ItemIdDecoder.open(tmp_path, Settings(), 1)
