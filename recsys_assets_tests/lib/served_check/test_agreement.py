"""What counts as the same list: near ties and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.evaluation.inner_products import NudgedProducts, Products, inner_products
from recsys_assets.lib.evaluation.placed import PlacedScorer
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.ranking.places import NewItemPlaces
from recsys_assets.lib.served_check.agreement import (
    CAUSES,
    EvaluatedList,
    ReservedPlaces,
    ServedList,
    _cause,
    changed_by_a_nudge,
    compare,
    evaluated_lists,
    passes,
)
from recsys_assets_tests.support.small_queries import queries

ITEMS = [f"i{n}" for n in range(100)]
#: Weighted ranks, as a fusion orders by, and click probabilities.
RANKS = -np.log(np.arange(120) + 2.0)
ODDS = 1 / (1 + np.exp(np.linspace(3, 6, 120)))


def cause(scores: np.ndarray, served: list[str], reasons: list[str] | None = None) -> str:
    names = [*ITEMS, *(f"next{n}" for n in range(20))]
    beyond = dict(zip(names[100:], scores[100:].tolist(), strict=True))
    return _cause(EvaluatedList(ITEMS, scores[:100], beyond), ServedList(served, reasons or []))


@pytest.mark.parametrize("scores", [RANKS, ODDS], ids=["ranks", "probabilities"])
@pytest.mark.parametrize("place", [0, 31, 51, 98])
def test_a_dropped_a_repeated_a_foreign_and_a_moved_item_differ(scores, place):
    others = [one for one in ITEMS if one != ITEMS[place]]
    assert cause(scores, ITEMS) == "equal"
    assert cause(scores, [*others, "next0"]) == "different"
    assert cause(scores, [*others, ITEMS[place - 1]]) == "different"
    assert cause(scores, [*ITEMS[:place], "foreign", *ITEMS[place + 1 :]]) == "different"
    swapped = list(ITEMS)
    swapped[place], swapped[place + 1] = swapped[place + 1], swapped[place]
    assert cause(scores, swapped) == "different"
    assert cause(scores, ITEMS[:-1]) == "different"
    assert cause(scores, ITEMS[::-1]) == "different"


@pytest.mark.parametrize("scores", [RANKS, ODDS], ids=["ranks", "probabilities"])
def test_near_ties_may_change_places_also_at_the_end(scores):
    tied = scores.copy()
    tied[41] = tied[40] * (1 + 1e-7)
    tied[100] = tied[99] * (1 - 1e-7)
    swapped = [*ITEMS[:40], ITEMS[41], ITEMS[40], *ITEMS[42:]]
    assert cause(tied, swapped) == "rounding"
    assert cause(tied, [*ITEMS[:-1], "next0"]) == "rounding"
    assert cause(tied, [*ITEMS[:-1], "next1"]) == "different"


ASKED = pl.DataFrame({c.EVENT_ID: ["click"], c.USER_ID: ["ann"], c.TIMESTAMP: [0]})


@dataclass(frozen=True)
class Table:
    """The same scores for every query."""

    values: np.ndarray  # float64 [I]
    name: str = "table"

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        return np.repeat(self.values[None], len(rows), axis=0)

    def of_rows(self) -> Table:
        return self


def test_near_ties_are_those_of_the_items_and_not_of_their_places():
    """A new item at place 90 moves all items below it, and so do not the scores that are compared;
    nor is it a fault if another new item, as good, has the place."""
    values = np.exp(-np.linspace(1, 20, 200))
    values[94] = values[93] * (1 - 1e-7)
    values[191] = values[190] * (1 - 1e-7)
    young = np.zeros(200, bool)
    young[[190, 191, 195]] = True
    asked = queries([0], 200, frame=ASKED)
    scorer = PlacedScorer(
        Table(values), NewItemPlaces(100, young), asked.item_ids.tolist(), retrieval_topk=200
    )
    (expected,) = evaluated_lists(scorer, asked, 100)
    items = expected.item_ids
    place = items.index("i190")
    assert place % 10 == 9 and items.index("i93") > place, "or the place moves nothing"

    def found(served: list[str]) -> str:
        counts, _ = compare(
            scorer,
            lambda: scorer,
            lambda: scorer,
            asked,
            [ServedList(served, [])],
            100,
            np.zeros((1, 200), bool),
        )
        return max(counts, key=lambda name: counts[name])

    def swapped(one: int, other: int) -> list[str]:
        found = list(items)
        found[one], found[other] = found[other], found[one]
        return found

    tied = items.index("i93")
    assert items[tied + 1] == "i94" and found(items) == "equal"
    assert found(swapped(tied, tied + 1)) == "rounding"
    assert found(swapped(tied + 1, tied + 2)) == "different"
    assert found(swapped(place, place + 1)) == "different"
    assert found([*items[:place], "i191", *items[place + 1 :]]) == "rounding"
    assert found([*items[:place], "i195", *items[place + 1 :]]) == "different"


@dataclass(frozen=True)
class Ranks:
    """Orders items by the log of their rank in retrieval and in another list, as a fusion does."""

    vectors: np.ndarray  # float32 [I, D]
    other: np.ndarray  # float64 [I]
    products: Products
    name: str = "ranks"

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        near = self.products(np.ones((len(rows), self.vectors.shape[1]), np.float32), self.vectors)
        return -np.log1p(np.argsort(np.argsort(-near, axis=1), axis=1)) + self.other

    def of_rows(self) -> Ranks:
        return self


def test_near_ties_of_retrieval_may_change_places_and_no_other_items():
    """Their ranks differ by one, so their weighted ranks differ by far more than rounding."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(200, 16)).astype(np.float32)
    vectors = vectors[np.argsort(-vectors.sum(axis=1))]
    for at in (20, 60):  # as near as float32 sums of another order are
        vectors[at + 1] = vectors[at]
        vectors[at + 1, 0] -= np.float32(4e-7)
    other = rng.uniform(0, 1e-3, 200)
    exact = Ranks(vectors, other, inner_products)
    asked = queries([0], 200, frame=ASKED)
    (expected,) = evaluated_lists(exact, asked, 100)
    items = expected.item_ids

    def found(served: list[str]) -> str:
        nudged = Ranks(vectors, other, NudgedProducts(7))
        wrong = np.zeros((1, 200), bool)
        one = [ServedList(served, [])]
        counts, _ = compare(exact, lambda: exact, lambda: nudged, asked, one, 100, wrong)
        return max(counts, key=lambda name: counts[name])

    def swapped(*places: int) -> list[str]:
        lists = list(items)
        for at in places:
            lists[at], lists[at + 1] = lists[at + 1], lists[at]
        return lists

    assert items[20:22] == ["i20", "i21"] and items[60:62] == ["i60", "i61"]
    assert not np.isclose(expected.scores[20], expected.scores[21], rtol=1e-3, atol=0)
    assert found(items) == "equal"
    assert found(swapped(20)) == found(swapped(60)) == found(swapped(20, 60)) == "rounding"
    assert found(swapped(40)) == found(swapped(20, 40)) == "different"
    assert found([*items[:-1], "i150"]) == "different"

    # as in a small shop whose items are nearly all alike: each list differs, by near ties alone
    many = queries([0] * 130, 200, frame=pl.concat([ASKED] * 130))
    nudged = Ranks(vectors, other, NudgedProducts(7))
    lists = [ServedList(swapped(20), [])] * 129

    def counted(last: list[str]) -> dict[str, int]:
        answers, wrong = [*lists, ServedList(last, [])], np.zeros((130, 200), bool)
        return compare(exact, lambda: exact, lambda: nudged, many, answers, 100, wrong)[0]

    assert counted(swapped(60))["rounding"] == 130
    assert counted(swapped(40))["different"] == 1, "a fault among them is found"
    changed = changed_by_a_nudge(exact, lambda: nudged, many, 100)
    assert 60 < changed < 130, "two near ties keep their order in one list of four"
    assert changed_by_a_nudge(exact, lambda: exact, many, 100) == 0


@dataclass(frozen=True)
class Between:
    """Scores that are one of two bounds, drawn anew at each call."""

    low: np.ndarray  # float64 [I]
    high: np.ndarray
    name: str = "between"

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        drawn = np.random.default_rng().random((len(rows), len(self.low))).round()
        return np.where(drawn > 0, self.high, self.low)

    def of_rows(self) -> Between:
        return self


def test_new_items_of_reserved_places_may_be_near_ties_one_of_the_other():
    """Three of them on MovieLens: the first may be above the second, which is surely above the
    third, which may be above the first. So the places of two items are taken by surely lower ones.
    """
    exact = -np.arange(200) / 1000
    exact[[150, 151, 152, 153]] = -0.104787, -0.104842, -0.1049, -0.15
    low, high = exact.copy(), exact.copy()
    low[150], high[151], low[152] = -0.1068, -0.1032, -0.1074
    new = np.zeros(200, bool)
    new[150:154] = True
    asked = queries([0], 200, frame=ASKED)
    places = NewItemPlaces(10, new)
    ids = asked.item_ids.tolist()

    def placed_by(scorer) -> PlacedScorer:
        return PlacedScorer(scorer, places, ids, retrieval_topk=200)

    scorer = placed_by(Table(exact))
    (expected,) = evaluated_lists(scorer, asked, 100)
    at = [expected.item_ids.index(f"i{n}") for n in (150, 151, 152, 153)]
    assert at == [9, 19, 29, 39]

    def found(*order: int, reserved: bool = True) -> str:
        served = list(expected.item_ids)
        for place, item in zip(at, order, strict=False):
            served[place] = f"i{item}"
        counts, _ = compare(
            scorer,
            lambda: scorer,
            lambda: placed_by(Between(low, high)),
            asked,
            [ServedList(served, [])],
            100,
            np.zeros((1, 200), bool),
            ReservedPlaces(places, new) if reserved else None,
        )
        return max(counts, key=lambda name: counts[name])

    assert found(150, 151, 152, 153) == "equal"
    assert found(151, 152, 150) == found(151, 150, 152) == "rounding"
    assert found(152, 151, 150) == "different", "the second is surely above the third"
    assert found(150, 151, 153, 152) == "different"
    assert found(151, 152, 199) == "different", "no new item"
    assert found(151, 152, 150, reserved=False) == "different", "nothing is reserved"


def test_a_failed_part_is_told_from_a_fault():
    assert cause(RANKS, ITEMS[::-1], ["seen_filter_unavailable"]) == "degraded"


def test_some_near_ties_pass_and_a_fault_does_not():
    def counts(**found: int) -> dict[str, int]:
        return {**dict.fromkeys(CAUSES, 0), **found}

    assert passes(counts(equal=90, rounding=10)) and passes(counts(equal=1, rounding=1))
    assert not passes(counts(equal=80, rounding=20))
    assert passes(counts(equal=62, rounding=38), nudged=30), "nudges alone change as many"
    assert not passes(counts(equal=54, rounding=46), nudged=30)
    assert not passes(counts(equal=99, different=1), nudged=90)
    assert not passes(counts(equal=499, different=1))
    assert passes(counts(equal=99, bloom_filter=1)) and not passes(counts(equal=9, bloom_filter=1))
