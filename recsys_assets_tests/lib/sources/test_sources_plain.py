"""Every source and the blend equal their plain form to the bit, on random data with many ties."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from recsys_assets.lib.sources import sources, union
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.cosine_factors import CosineFactors
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import (
    FoldIn,
    MostPopular,
    Neighbours,
    OwnItems,
    Sessions,
    Source,
    Young,
)
from recsys_assets.lib.sources.union import best_first, distinct
from recsys_assets.source_names import EASE, FOLLOW_UPS, RETRIEVAL
from recsys_assets_tests.support import plain_sources

ITEMS, CONTENT = 700, 16


def drawn(rng: np.random.Generator) -> tuple[Source, ...]:
    """One source of each kind. Coarse weights give many equal sums, also at a list's end."""
    wide = int(rng.integers(1, 60))

    def weights(*shape: int) -> np.ndarray:
        coarse = bool(rng.integers(2))
        drawn = rng.integers(-1, 4, shape) / 2 if coarse else rng.normal(0.3, 1, shape)
        return drawn.astype(np.float32)

    def of_some() -> np.ndarray:
        """Of rows, as many as not without a neighbour."""
        drawn = weights(ITEMS, wide)
        drawn[rng.random(ITEMS) < rng.choice([0.0, 0.5, 0.99])] = 0
        return drawn

    def table() -> np.ndarray:
        return np.stack([rng.permutation(ITEMS)[:wide] for _ in range(ITEMS)]).astype(np.int32)

    factors = np.round(rng.normal(size=(ITEMS, 5)), int(rng.integers(0, 7))).astype(np.float32)
    sessions = [rng.permutation(ITEMS)[: rng.integers(1, 9)] for _ in range(500)]
    items, size = np.concatenate(sessions), np.array([len(one) for one in sessions])
    order = np.argsort(items, kind="stable")
    content = rng.normal(size=(ITEMS + 3, CONTENT)).astype(np.float32)
    content[rng.integers(0, ITEMS, 90)] = 0
    return (
        Neighbours.of(FOLLOW_UPS, table(), of_some(), decay=0.7),
        Neighbours.of(EASE, table(), of_some(), half_life=9.0),
        FoldIn(factors, factors.T.astype(np.float64) @ factors + np.eye(5), 40.0, 0.6),
        Sessions(
            np.searchsorted(items[order], np.arange(ITEMS + 1)),
            np.repeat(np.arange(500), size)[order].astype(np.int32),
            np.abs(weights(ITEMS)) / 3.0,
            np.abs(weights(500)).astype(np.float64),
            np.concatenate([[0], np.cumsum(size)]),
            items.astype(np.int32),
            neighbours=int(rng.integers(1, 200)),
            decay=0.6,
        ),
        MostPopular(rng.permutation(ITEMS)[: rng.integers(0, 300)]),
        OwnItems(24.0),
        Young(np.sort(rng.permutation(ITEMS)[: rng.integers(0, 300)]), content),
        CosineFactors(np.abs(factors) - np.float32(0.5), 0.3, 48.0),
    )


def visitor(rng: np.random.Generator) -> Recent:
    """Up to 50 clicks, often on few items and at few moments."""
    clicks = int(rng.choice([0, 1, 2, 7, 50]))
    ages = np.sort(rng.integers(0, rng.choice([2, 9, 900]), clicks)).astype(np.float32)
    return Recent(rng.integers(0, rng.choice([3, ITEMS]), clicks), ages)


def blend(rng: np.random.Generator, found: tuple[Source, ...]) -> Blend:
    some = found if rng.integers(2) else found[rng.integers(len(found)) :]
    # equal weights, no weights and one below 0: equal scores, whose order the places decide
    weight: Callable[[], float] = lambda: float(rng.choice([0.0, 0.25, 0.25, -0.1, rng.random()]))  # noqa: E731
    weights = {RETRIEVAL: weight(), **{one.name: weight() for one in some}}
    return Blend(some, weights, rng.random(ITEMS) < rng.choice([0.0, 0.1, 1.0]))


@pytest.fixture(params=["few", "small", "large"])
def catalogue(request, monkeypatch):
    """The ways of few items, of more, and of a catalogue above DENSE."""
    if request.param != "few":
        monkeypatch.setattr(sources, "_FEW", 0)
    if request.param == "large":
        monkeypatch.setattr(sources, "DENSE", 0)
        monkeypatch.setattr(union, "DENSE", 0)


@pytest.mark.parametrize("seed", range(25))
def test_every_source_lists_the_same(seed, catalogue):
    rng = np.random.default_rng(seed)
    for source in drawn(rng):
        for _ in range(6):
            mine = visitor(rng)
            for most in (1, 20, 150, ITEMS):
                found = source.best(mine, most)
                assert found.dtype == np.int64, source.name
                expected = plain_sources.best(source, mine, most)
                np.testing.assert_array_equal(found, expected, source.name)


@pytest.mark.parametrize("seed", range(10))
def test_a_table_of_some_rows_lists_and_explains_as_the_whole(seed, catalogue):
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(ITEMS)[:9] for _ in range(ITEMS)]).astype(np.int32)
    weights = (rng.integers(-1, 4, items.shape) / 2).astype(np.float32)
    chosen = np.flatnonzero(rng.random(ITEMS) < 0.2)
    without = np.setdiff1d(np.arange(ITEMS), chosen)
    items[without], weights[without] = 0, 0
    place = np.full(ITEMS, -1)
    place[chosen] = np.arange(len(chosen))
    whole = Neighbours(EASE, np.arange(ITEMS, dtype=np.int32), items, weights)
    for small in (
        Neighbours.of(EASE, items, weights),
        Neighbours.of(EASE, items[chosen], weights[chosen], place),
    ):
        assert len(small.items) == 1 + weights.any(axis=1).sum() and len(small.place) == ITEMS
        for array in ("place", "items", "weights"):
            assert getattr(small, array).dtype == getattr(whole, array).dtype
        for _ in range(20):
            mine, wanted = visitor(rng), rng.permutation(ITEMS)[:50]
            np.testing.assert_array_equal(small.best(mine, 150), whole.best(mine, 150))
            np.testing.assert_array_equal(small.cause(mine, wanted), whole.cause(mine, wanted))


def test_a_table_without_neighbours_has_one_row():
    for shape in ((5, 3), (5, 0)):
        items, weights = np.ones(shape, np.int32), np.zeros(shape, np.float32)
        for given, place in ((slice(5), None), (slice(0), np.full(5, -1))):
            near = Neighbours.of(EASE, items[given], weights[given], place)
            assert near.items.shape == (1, shape[1]) and near.place.tolist() == [0] * 5
            mine = Recent(np.array([4, 2]), np.zeros(2, np.float32))
            assert near.best(mine, 9).tolist() == []
            assert near.cause(mine, np.array([0, 1])).tolist() == [-1, -1]


def same(blend: Blend, mine: Recent, retrieved: np.ndarray) -> None:
    found = blend.of(mine, retrieved)
    some = found.rows[::3]
    for given, expected in (
        (found, plain_sources.of(blend, mine, retrieved)),
        (blend.owed(mine, retrieved, some), plain_sources.owed(blend, mine, retrieved, some)),
    ):
        for name, values in vars(expected).items():
            assert getattr(given, name).dtype == values.dtype, name
            np.testing.assert_array_equal(getattr(given, name), values, name)
    # the formula of the union, which the fits use
    united = blend.union(mine, retrieved)
    weights = np.array([blend.weights[name] for name in blend.names])
    of = dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True))
    expected = united.scores(weights)
    np.testing.assert_allclose([of[row] for row in united.items.tolist()], expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(25))
def test_the_blend_orders_and_explains_the_same(seed, catalogue):
    rng = np.random.default_rng(seed)
    found = drawn(rng)
    for _ in range(6):
        one, mine = blend(rng, found), visitor(rng)
        retrieved = rng.permutation(ITEMS)[: rng.choice([0, 3, 400, 500])]
        same(one, mine, retrieved)
        united = one.union(mine, retrieved)
        for values, expected in zip(
            (united.items, united.places, united.listed),
            plain_sources.union(one, mine, retrieved),
            strict=True,
        ):
            np.testing.assert_array_equal(values, expected)


def test_threads_may_share_a_blend(catalogue):
    rng = np.random.default_rng(5)
    one = blend(rng, drawn(rng))
    asked = [(visitor(rng), rng.permutation(ITEMS)[:400]) for _ in range(60)]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda given: same(one, *given), asked * 3):
            pass


@pytest.mark.parametrize("seed", range(20))
def test_the_order_is_that_of_lexsort(seed):
    rng = np.random.default_rng(seed)
    scores = rng.choice([-np.inf, -2.5, -1e-40, -0.0, 0.0, 1e-40, 3.0, np.inf], 300)
    if seed % 2:
        scores = np.round(rng.normal(size=300), seed // 5)
    places, scores = rng.integers(0, 5, 300), scores.astype(np.float32)
    np.testing.assert_array_equal(best_first(scores, places), np.lexsort((places, -scores)))


@pytest.mark.parametrize("rows", [[], [0], [4, 4], [9, 0, 9, 3]])
def test_distinct_rows_are_those_of_unique(rows, catalogue):
    given = np.array(rows, np.int64)
    for found, expected in zip(distinct(given), np.unique(given, return_inverse=True), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("count", [5, 3_000, 70_000])
@pytest.mark.parametrize("floor", [0.0, -np.inf])
def test_a_long_list_has_the_same_order(count, floor):
    rng = np.random.default_rng(count)
    scores = np.round(rng.normal(size=count), 2) + 0.0
    scores[::7] += 1e-13  # less than what is compared
    items = np.arange(count) * 3
    for most in (1, 150, min(count, 1 << 16)):
        np.testing.assert_array_equal(
            sources.highest(items, scores, most, floor),
            plain_sources.highest(items, scores, most, floor),
        )


def test_what_rounding_did_to_the_last_bits_does_not_order():
    assert 0.1 + 0.2 > 0.3
    assert sources.highest(None, np.array([0.3, 0.1 + 0.2, 0.4]), 3).tolist() == [2, 0, 1]
    negative = sources.highest(None, np.array([-0.3, -0.1 - 0.2, -0.0, 0.0]), 4, -np.inf)
    assert negative.tolist() == [2, 3, 0, 1]
