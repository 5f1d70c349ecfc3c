"""List metrics against numbers worked out by hand, brute force, and the formulas of their
intervals.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.evaluation import list_metrics as lm
from recsys_assets.lib.evaluation.measures import VALUE_NDCG
from recsys_assets_tests.support.small_queries import queries


class Given:
    """A scorer of scores [Q, I] that are given."""

    name = "given"

    def __init__(self, scores):
        self.values = np.array(scores, np.float64)

    def scores(self, asked, rows):
        return self.values[rows]


def test_ranks_and_tops_by_hand():
    scores = [[1, 3, 3, 2], [1, 3, 3, 2], [5, -np.inf, 2, 1], [5, -np.inf, 2, 1]]
    asked = queries([2, 3, 1, 2], 4, seen=[[1], [], [], [0, 3]])
    lists = lm.run(Given(scores), asked, chunk=3)
    # the first query's item 1 is seen; items of equal scores stand in catalogue order; what is -inf
    # is never shown
    assert lists.ranks.tolist() == [1, 3, 5, 1] and lists.ranks.dtype == np.int32
    assert lists.top[:, :4].tolist() == [
        [2, 3, 0, -1],
        [1, 2, 3, 0],
        [0, 2, 3, -1],
        [2, -1, -1, -1],
    ]
    assert (lists.top[:, 4:] == -1).all() and lists.top.shape == (4, lm.SHOWN)


def test_a_large_catalogue_is_scored_in_smaller_parts(monkeypatch):
    asked, sizes = queries([0, 1, 2, 3, 0], 4), []

    class Sized(Given):
        def scores(self, asked, rows):
            sizes.append(len(rows))
            return super().scores(asked, rows)

    monkeypatch.setattr(lm, "_CELLS", 8)
    lists = lm.run(Sized(np.eye(4)[[0, 1, 2, 3, 0]]), asked)
    assert sizes == [2, 2, 1] and lists.ranks.tolist() == [1] * 5


def test_ranks_agree_with_sorting():
    rng = np.random.default_rng(0)
    scores, true = np.round(rng.random((60, 40)), 1), rng.integers(0, 40, 60)  # rounded: many ties
    seen = [[i for i in rng.integers(0, 40, 6).tolist() if i != t] for t in true]
    seen = [sorted(set(of_query)) for of_query in seen]
    lists = lm.run(Given(scores), queries(true.tolist(), 40, seen=seen), chunk=7)
    for q in range(60):
        order = [i for i in np.argsort(-scores[q], kind="stable").tolist() if i not in seen[q]]
        assert lists.ranks[q] == 1 + order.index(true[q]) and lists.top[q].tolist() == order[:10]


def test_a_scorer_never_sees_its_scores_changed():
    given = Given([[1.0, 2.0]])
    lm.run(given, queries([0], 2, seen=[[1]]))
    assert given.values.tolist() == [[1.0, 2.0]]


def test_scores_that_are_no_answer_are_refused():
    with pytest.raises(
        ValueError, match=r"given: scores must be numbers \[1, 2\], got \(1, 2\) with 1 NaN"
    ):
        lm.run(Given([[1.0, np.nan]]), queries([0], 2))
    with pytest.raises(ValueError, match=r"got \(1, 3\)"):
        lm.run(Given([[1.0, 2.0, 3.0]]), queries([0], 2))


def test_lists_are_read_as_they_were_written(tmp_path):
    from recsys_assets.artifacts import ArtifactStore

    lists = lm.run(lm.SameForAll("popularity", np.array([3, 1, 2])), queries([0, 2], 3))
    assert lists.ranks.tolist() == [1, 2]
    with ArtifactStore(tmp_path).stage("evaluation/x", "1") as staged:
        np.savez(staged.path / "lists.npz", **lists.arrays("popularity"))
        artifact = staged.publish()
    again = lm.Lists.read(artifact, "popularity")
    np.testing.assert_array_equal(again.ranks, lists.ranks)
    np.testing.assert_array_equal(again.top, lists.top)
    with pytest.raises(KeyError, match="no lists of 'ease'"):
        lm.Lists.read(artifact, "ease")


def test_metrics_are_averaged_per_user():
    # user a: ranks 1 and 50; user b: rank 3
    value = {
        name: m["value"]
        for name, m in lm.list_metrics(np.array([1, 50, 3]), ["a", "a", "b"]).items()
    }
    deep = 1 / math.log2(51)
    assert tuple(value) == lm.METRICS
    assert value == pytest.approx(
        {
            "recall@10": (0.5 + 1) / 2,
            "recall@50": 1.0,
            "recall@100": 1.0,
            "recall@300": 1.0,
            "ndcg@10": (0.5 * 1.0 + 1 / math.log2(4)) / 2,
            **{f"ndcg@{k}": ((1 + deep) / 2 + 1 / math.log2(4)) / 2 for k in (100, 300)},
            "mrr@10": (0.5 * 1.0 + 1 / 3) / 2,
            **{f"mrr@{k}": ((1 + 1 / 50) / 2 + 1 / 3) / 2 for k in (100, 300)},
        }
    )


def test_the_interval_covers_the_value_and_shrinks_with_users():
    ranks = np.where(np.random.default_rng(1).random(4000) < 0.3, 1, 1000)
    few = lm.list_metrics(ranks[:100], np.arange(100))["recall@10"]
    many = lm.list_metrics(ranks, np.arange(4000))["recall@10"]
    assert few["low"] < few["value"] < few["high"] and many["low"] < 0.3 < many["high"]
    # a binomial's own interval: 1.96 * sqrt(p (1 - p) / n)
    assert many["high"] - many["low"] == pytest.approx(
        2 * 1.96 * math.sqrt(0.3 * 0.7 / 4000), rel=0.15
    )
    assert few["high"] - few["low"] > 4 * (many["high"] - many["low"])
    assert lm.list_metrics(ranks, np.arange(4000))["recall@10"] == many  # seeded
    # one heavy user's rows are one observation: they do not narrow the interval
    assert lm.list_metrics(np.ones(50), ["a"] * 50)["recall@10"] == {
        "value": 1.0,
        "low": 1.0,
        "high": 1.0,
    }
    with pytest.raises(ValueError, match="2 ranks and 1 users"):
        lm.list_metrics(np.ones(2), ["a"])


def test_a_paired_difference_is_narrower_than_its_systems():
    rng = np.random.default_rng(0)
    ranks = rng.integers(1, 12, 3000)
    better = np.where(rng.random(3000) < 0.1, np.maximum(ranks - 1, 1), ranks)
    users = rng.integers(0, 600, 3000)
    found = lm.paired_difference(better, ranks, users)
    of_a, of_b = (lm.list_metrics(r, users)["ndcg@10"] for r in (better, ranks))
    assert found["value"] == pytest.approx(of_a["value"] - of_b["value"])
    assert (
        0 < found["low"] < found["high"] and of_a["low"] < of_b["high"]
    )  # seen paired, hidden otherwise
    assert found["high"] - found["low"] < (of_a["high"] - of_a["low"]) / 3
    assert lm.paired_difference(ranks, better, users)["value"] == pytest.approx(-found["value"])
    with pytest.raises(ValueError, match="'ndcg@5' must be one of recall@10"):
        lm.paired_difference(ranks, better, users, "ndcg@5")
    with pytest.raises(ValueError, match="3000 and 2 ranks"):
        lm.paired_difference(ranks, ranks[:2], users)


def test_simulated_visitors_count_in_their_slice_alone():
    asked = queries(
        [0, 0, 0],
        4,
        users=["a", "b", "a"],
        simulated=[False, False, True],
        seen=[[1, 2], [], []],
        slices={
            "cold_users": [False, False, True],
            "known_users": [True, True, False],
            "weekend": [False] * 3,
        },
    )
    ranks = np.array([1, 1, 400])
    assert lm.judge(ranks, asked)["recall@10"]["value"] == 1.0
    slices = lm.judge_slices(ranks, asked)
    assert set(slices) == {"cold_users", "known_users"}  # an empty slice says nothing
    assert (
        slices["cold_users"]["recall@300"]["value"] == 0.0
        and slices["cold_users"]["simulated"] is True
    )
    assert slices["known_users"]["queries"] == 2 and slices["known_users"]["simulated"] is False
    # two items are left of four for the first, four for the second
    assert lm.random_recall(asked, np.array([0, 1]), 1) == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert slices["known_users"]["random_recall@50"] == 1.0


def test_random_metrics_are_exact():
    expected = lm.random_metrics(600)
    assert expected["recall@100"] == pytest.approx(100 / 600)
    assert expected["mrr@10"] == pytest.approx(sum(1 / r for r in range(1, 11)) / 600)
    drawn = lm.list_metrics(np.random.default_rng(0).integers(1, 601, 20_000), np.arange(20_000))
    assert all(m["low"] * 0.9 < expected[name] < m["high"] * 1.1 for name, m in drawn.items())


def test_beyond_accuracy_by_hand():
    clicks = np.array([7, 3, 0, 0])
    vectors = np.array(
        [[2, 0], [0, 1], [1, 0], [0, 0]], np.float32
    )  # of any length; the last has no content
    top = np.array([[0, 2, -1], [0, 1, -1]])
    found = lm.beyond_accuracy(top, clicks, vectors)
    assert found["coverage@10"] == 0.75
    bits = [-math.log2(n / 14) for n in (8, 1, 8, 4)]
    assert found["novelty@10"] == pytest.approx(sum(bits) / 4)
    assert found["diversity@10"] == pytest.approx(
        (0.0 + 1.0) / 2
    )  # items 0 and 2 are alike, 0 and 1 have nothing in common
    # shown 2, 1, 1, 0 times: Gini is the mean absolute difference over twice the mean
    shown = [2, 1, 1, 0]
    gini = sum(abs(a - b) for a in shown for b in shown) / (2 * 4 * 4)
    assert found["gini@10"] == pytest.approx(gini)
    assert found["popularity_lift@10"] == pytest.approx(((7 + 0 + 7 + 3) / 4) / ((49 + 9) / 10))
    assert found["top_1_percent_share"] == 0.5
    alike = lm.beyond_accuracy(np.array([[0, 1, 2, 3]]), clicks, vectors)
    assert alike["gini@10"] == pytest.approx(0.0) and alike["coverage@10"] == 1.0


def test_figures_of_lists_that_show_next_to_nothing():
    nothing = np.full((2, lm.SHOWN), -1)
    clicks, vectors = np.array([3, 1]), np.eye(2, dtype=np.float32)
    assert lm.beyond_accuracy(nothing, clicks, vectors) == {}
    assert lm.beyond_accuracy(nothing[:0], clicks, vectors) == {}
    one = nothing.copy()
    one[:, 0] = 1
    figures = lm.beyond_accuracy(one, np.zeros(2), vectors)
    assert figures["coverage@10"] == 0.5 and np.isfinite(list(figures.values())).all()
    assert not {"diversity@10", "popularity_lift@10"} & set(figures)


def test_value_weighted_ndcg_by_hand():
    """Two visitors; each is a mean by value of its own clicks, and a third has no value at all."""
    ranks, users = np.array([1, 3, 1, 99, 1]), ["u", "u", "v", "v", "w"]
    values = np.array([1.0, 10.0, 1.0, 4.0, 0.0])
    found = lm.list_metrics(ranks, users, values=values)
    of_u, of_v = (1 + 10 * 0.5) / 11, 1 / 5
    assert found[VALUE_NDCG]["value"] == pytest.approx((of_u + of_v) / 2)
    assert found[VALUE_NDCG]["low"] <= found[VALUE_NDCG]["value"] <= found[VALUE_NDCG]["high"]
    # the plain one counts every click and visitor
    assert found["ndcg@10"]["value"] == pytest.approx((0.75 + 0.5 + 1) / 3)
    assert lm.point(ranks, users, VALUE_NDCG, values) == found[VALUE_NDCG]["value"]


def test_equal_values_give_the_plain_ndcg_and_none_leave_it_out():
    rng = np.random.default_rng(2)
    ranks, users = rng.integers(1, 30, 200), rng.integers(0, 40, 200)
    plain = lm.list_metrics(ranks, users)
    same = lm.list_metrics(ranks, users, values=np.full(200, 2.0))
    assert same[VALUE_NDCG] == pytest.approx(same["ndcg@10"])
    assert {name: same[name] for name in plain} == plain and VALUE_NDCG not in plain
    assert VALUE_NDCG not in lm.list_metrics(ranks, users, values=np.zeros(200))


def test_a_value_weighted_difference_is_paired():
    rng = np.random.default_rng(3)
    a, b, users = rng.integers(1, 30, 300), rng.integers(1, 30, 300), rng.integers(0, 50, 300)
    values = rng.choice([0.0, 1.0, 10.0], 300)
    found = lm.paired_difference(a, b, users, values=values)
    of_a, of_b = (lm.point(one, users, VALUE_NDCG, values) for one in (a, b))
    assert found["value"] == pytest.approx(of_a - of_b)
    with pytest.raises(ValueError, match="weights of 300 queries are all 0"):
        lm.paired_difference(a, b, users, values=np.zeros(300))


def test_judgements_have_the_value_of_the_queries():
    frame = pl.DataFrame({"event_id": ["e0", "e1", "e2"], c.VALUE: [1.0, 3.0, 9.0]})
    asked = queries(
        [0, 1, 2],
        4,
        users=["u", "u", "u"],
        simulated=[False, False, True],
        slices={"first": [True, False, False]},
        frame=frame,
    )
    ranks, others = np.array([1, 99, 1]), np.array([1, 1, 1])
    assert lm.judge(ranks, asked)[VALUE_NDCG]["value"] == 0.25
    assert lm.judge_slices(ranks, asked)["first"][VALUE_NDCG]["value"] == 1.0
    difference = lm.overall_difference(ranks, others, asked, metric=VALUE_NDCG)
    assert difference is not None and difference["value"] == -0.75
    assert VALUE_NDCG not in lm.judge(ranks, queries([0, 1, 2], 4))
    assert lm.overall_difference(ranks, others, queries([0, 1, 2], 4), metric=VALUE_NDCG) is None
