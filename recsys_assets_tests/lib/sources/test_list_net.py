"""The net of a blend: what it reads, what it adds, and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys_assets.files import FileCorrupt
from recsys_assets.lib.sources.blend import Blend
from recsys_assets.lib.sources.list_net import OF_VISITOR, ListNet, write_of_visitor
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import MostPopular, OwnItems, Young
from recsys_assets.lib.sources.stored import (
    BY_SOURCES,
    read_blend,
    read_net,
    write_blend,
    write_net,
)
from recsys_assets.lib.sources.union import LAST, logs
from recsys_assets.release_files import EMBEDDING_TABLE, LIST_NET
from recsys_assets.source_names import OWN_ITEMS, POPULARITY, RETRIEVAL, YOUNG_ITEMS

#: Item 4 an hour ago and 9 hours ago, item 2 three hours ago.
MINE = Recent(np.array([4, 2, 4], np.int64), np.array([1.0, 3.0, 9.0], np.float32))
NOBODY = Recent(np.zeros(0, np.int64), np.zeros(0, np.float32))
WEIGHTS = {RETRIEVAL: 1.0, POPULARITY: 0.5, OWN_ITEMS: 0.2, YOUNG_ITEMS: 0.1}
LISTS = len(WEIGHTS)


def net(seed: int = 3, lists: int = LISTS, units: int = 4) -> ListNet:
    rng = np.random.default_rng(seed)
    shapes = ((lists + len(OF_VISITOR), units), (units,), (units,))
    return ListNet(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def net_inputs(places, recent, items, young) -> np.ndarray:
    found = np.zeros((len(items), places.shape[1] + len(OF_VISITOR)), np.float32)
    found[:, : places.shape[1]] = places
    write_of_visitor(found[:, places.shape[1] :], recent, items, young)
    return found


def blend(added: ListNet | None, places: int = 0) -> Blend:
    rows = np.array([7, 9])
    content = np.random.default_rng(4).normal(size=(13, 3)).astype(np.float32)
    sources = (MostPopular(np.array([3, 1])), OwnItems(), Young(rows, content))
    young = np.isin(np.arange(10), rows)
    return Blend(sources, WEIGHTS, young, places, added)


def test_it_reads_the_places_and_the_visitor_s_clicks():
    places = np.array([[-0.5], [-0.7], [-0.9], [-1.1]], np.float32)
    young = np.array([False, False, False, True])
    found = net_inputs(places, MINE, np.array([1, 2, 4, 7]), young)
    one, two, three, four, ten = np.log([2.0, 3.0, 4.0, 4.0, 2.0])
    expected = [
        # place, own clicks, hours since the last of them, young; clicks, hours since the last
        [-0.5, 0, 0, 0, three, one],
        [-0.7, one, four, 0, three, one],
        [-0.9, two, ten, 0, three, one],
        [-1.1, 0, 0, 1, three, one],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_a_visitor_without_clicks_has_zeros():
    found = net_inputs(np.zeros((2, 1), np.float32), NOBODY, np.array([1, 7]), np.array([0, 1]))
    assert found.tolist() == [[0] * 6, [0, 0, 0, 1, 0, 0]]


def test_what_it_adds_by_hand():
    hidden = np.array([[1.0, -1.0], [2.0, 0.0]], np.float32)
    made = ListNet(hidden, np.array([0.5, 1.0], np.float32), np.array([3.0, 10.0], np.float32))
    # units: max(0, x + 2y + .5), max(0, 1 - x)
    found = made.of(np.array([[1.0, 1.0], [-2.0, 0.0]], np.float32))
    np.testing.assert_allclose(found, [3 * 3.5, 10 * 3.0])


def test_the_mean_of_nets_is_one_net():
    inputs = np.random.default_rng(1).normal(size=(50, LISTS + len(OF_VISITOR))).astype(np.float32)
    first, second = net(1), net(2)
    both = ListNet.mean([first, second])
    np.testing.assert_allclose(
        both.of(inputs), (first.of(inputs) + second.of(inputs)) / 2, rtol=1e-4, atol=1e-5
    )


def test_of_other_lists_it_adds_the_same():
    """A list that is gone lacks every item, and one that is new says nothing."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(50, LISTS + len(OF_VISITOR))).astype(np.float32)
    inputs[:, [0, 2]] = LAST
    other = np.insert(np.delete(inputs, [0, 2], axis=1), 0, rng.normal(size=50), axis=1)
    made = net().of_lists(list(WEIGHTS), ["another", POPULARITY, YOUNG_ITEMS])
    np.testing.assert_allclose(made.of(other), net().of(inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("places", [0, 10])
@pytest.mark.parametrize("recent", [MINE, NOBODY])
def test_a_net_that_adds_nothing_changes_nothing(recent, places):
    nothing = replace(net(), out=np.zeros(4, np.float32))
    retrieved = np.array([7, 1, 2])
    plain = blend(None, places).of(recent, retrieved)
    found = blend(nothing, places).of(recent, retrieved)
    assert found.rows.tolist() == plain.rows.tolist()
    np.testing.assert_allclose(found.scores, plain.scores, rtol=1e-5)


def test_a_blend_adds_its_net_to_the_weighted_ranks():
    made, retrieved = blend(net()), np.array([7, 1, 2])
    found, union = made.of(MINE, retrieved), made.union(MINE, retrieved)
    inputs = net_inputs(logs(union.places), MINE, union.items, made.young[union.items])
    expected = union.scores(np.array(list(WEIGHTS.values()))) + net().of(inputs)
    order = np.argsort(-expected, kind="stable")
    assert found.rows.tolist() == union.items[order].tolist()
    np.testing.assert_allclose(found.scores, expected[order], rtol=1e-5)
    assert found.rows.tolist() != blend(None).of(MINE, retrieved).rows.tolist()


def test_a_stored_net_is_the_same(tmp_path: Path):
    made = blend(net())
    np.save(tmp_path / EMBEDDING_TABLE, np.zeros((13, 3), np.float32))
    write_blend(tmp_path, BY_SOURCES, made.sources, made.weights, made.young, net=made.net)
    found = read_blend(tmp_path)
    assert found is not None and found.net is not None
    np.testing.assert_array_equal(found.net.stacked, net().stacked)
    write_blend(tmp_path, BY_SOURCES, made.sources, made.weights, made.young)
    plain = read_blend(tmp_path)
    assert plain is not None and plain.net is None


def test_a_net_of_other_lists_or_of_no_number_is_refused(tmp_path: Path):
    write_net(tmp_path / LIST_NET, net())
    with pytest.raises(
        FileCorrupt, match=r"list_net\.npy must have 12 rows .* for 5 lists, got 11"
    ):
        read_net(tmp_path / LIST_NET, 5)
    write_net(tmp_path / LIST_NET, replace(net(), bias=np.full(4, np.nan, np.float32)))
    with pytest.raises(FileCorrupt, match="finite"):
        read_net(tmp_path / LIST_NET, LISTS)
