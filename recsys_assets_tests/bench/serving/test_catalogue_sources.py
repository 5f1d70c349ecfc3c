"""Sources of a synthetic catalogue: as large as it is, and of the real items' neighbours."""

from __future__ import annotations

import numpy as np

from recsys_assets.bench.serving import catalogue_sources
from recsys_assets.bench.serving.catalogue_sources import SyntheticSources
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.sources import Neighbours
from recsys_assets.lib.sources.stored import read_blend
from recsys_assets.source_names import EASE, FOLLOW_UPS, IALS, ITEM_TO_ITEM, POPULAR_NOW, RETRIEVAL
from recsys_assets_tests.support import tiny_payload

BASE = np.random.default_rng(3).integers(0, 40, 400)
CLICKED = np.array([5, 99, 300])


def written(tmp_path, by_sources: bool = True):
    real, made = tmp_path / "real", tmp_path / "made"
    for folder, rows in ((real, 43), (made, 403)):
        folder.mkdir()
        np.save(folder / "embedding_table.npy", np.ones((rows, 128), np.float32))
    tiny_payload.write_sources(real, by_sources)
    item_ids = [f"m{n}" for n in range(len(BASE))]
    SyntheticSources(BASE, np.random.default_rng(1), item_ids, CLICKED).write(real, made)
    return read_blend(made)


def test_every_source_lists_synthetic_items(tmp_path):
    blend = written(tmp_path)
    assert set(blend.names) == {RETRIEVAL, *(one.name for one in tiny_payload.sources())}
    ages = np.array([1.0, 2.0, 3.0], np.float32)
    mine = Recent(np.array([5, 99, 300]), ages, {3: np.array([7, 399])})
    for source in blend.sources:
        if source.name == POPULAR_NOW:
            assert source.listed(["m399", "item-01", "m7"], np.ones(3)).tolist() == [7, 399]
        found = source.best(mine, 50)
        assert len(found) and ((found >= 0) & (found < 400)).all(), source.name
    np.testing.assert_array_equal(blend.young, BASE >= 37)


def test_neighbours_are_of_the_real_items_neighbours(tmp_path):
    [after] = [one for one in written(tmp_path).sources if one.name == FOLLOW_UPS]
    items = after.items[after.place]
    np.testing.assert_array_equal(BASE[items[:, 0]], (BASE + 1) % 40)
    np.testing.assert_array_equal(BASE[items[:, 1]], (BASE + 2) % 40)
    assert after.weights.shape == (401, 2)


def test_ease_is_of_as_many_items_as_its_fit_keeps(monkeypatch):
    monkeypatch.setattr(catalogue_sources, "DENSE_ITEMS", 60)
    real = np.arange(40)
    near = np.stack([(real + 1) % 40, (real + 2) % 40], axis=1).astype(np.int32)
    source = Neighbours.of(EASE, near, np.ones(near.shape, np.float32), half_life=9.0)
    item_ids = [f"m{n}" for n in range(len(BASE))]
    made = SyntheticSources(BASE, np.random.default_rng(1), item_ids, CLICKED)._made(source)
    rows = np.flatnonzero(made.place)
    assert len(rows) == 60 and set(CLICKED) <= set(rows) and made.half_life == 9.0
    assert len(made.items) == 61 and len(made.place) == 400
    items = made.items[made.place[rows]]
    assert set(items.ravel()) <= {0, *rows}, "neighbours are of the same items"
    there = np.isin(near[BASE[rows]], BASE[rows])
    np.testing.assert_array_equal(BASE[items][there], near[BASE[rows]][there])


def test_a_source_that_is_not_served_at_this_size_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue_sources, "MOST_FACTORS", 100)
    blend = written(tmp_path)
    for name in (IALS, ITEM_TO_ITEM):
        assert name not in blend.names and name not in blend.weights


def test_a_release_without_sources(tmp_path):
    assert written(tmp_path, by_sources=False) is None
