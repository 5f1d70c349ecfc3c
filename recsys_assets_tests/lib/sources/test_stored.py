"""Sources on disk: the same lists after reading, and files that are refused by name."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from recsys_assets.files import FileCorrupt
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.stored import (
    BY_SOURCES,
    read_blend,
    read_source,
    write_blend,
    write_source,
)
from recsys_assets.source_names import RETRIEVAL, SESSION_KNN
from recsys_assets_tests.support import tiny_payload


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "embedding_table.npy", tiny_payload.embedding_table())
    tiny_payload.write_sources(tmp_path, by_sources=True)
    return tmp_path


def test_what_is_read_lists_the_same(folder):
    read = read_blend(folder)
    assert read is not None and read.names == (
        RETRIEVAL,
        *(one.name for one in tiny_payload.sources()),
    )
    rng = np.random.default_rng(8)
    for size in (0, 3, 20):
        ages = np.sort(rng.random(size).astype(np.float32))
        mine = Recent(rng.integers(0, 40, size), ages, {3: rng.permutation(40)[:size]})
        for before, after in zip(tiny_payload.sources(), read.sources, strict=True):
            assert before.best(mine, 15).tolist() == after.best(mine, 15).tolist(), before.name


def test_a_release_without_sources_has_no_blend(tmp_path):
    tiny_payload.write_sources(tmp_path, by_sources=False)
    assert read_blend(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "magic"}, "mode must be 'similarity' or 'sources', got 'magic'"),
        ({"weights": {RETRIEVAL: 1.0}}, "weights must be a finite number for each of"),
        ({"sources": [{"name": "oracle"}]}, "'oracle' is not a source; sources are follow_ups"),
        ({"sources": [{"name": "follow_ups"}]}, "decay of follow_ups must be a number ≥ 0"),
        ({"sources": [{"name": "ease", "half_life": 1.0}]}, "ease.place.npy is not a plain"),
    ],
)
def test_another_form_is_refused_by_name(folder, change, message):
    content = json.loads((folder / "sources.json").read_text())
    (folder / "sources.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(FileCorrupt, match=message):
        read_blend(folder)


def test_an_array_of_another_form_is_refused(folder):
    np.save(folder / "ials.factors.npy", np.zeros((4, 2), np.float64))
    with pytest.raises(FileCorrupt, match=r"ials\.factors\.npy must be float32 of 2 dimensions"):
        read_blend(folder)


@pytest.mark.parametrize(("last", "stored"), [(6, np.int32), (2**31, np.int64)])
def test_bounds_take_as_many_bytes_as_they_need(tmp_path, last, stored):
    [sessions] = [one for one in tiny_payload.sources() if one.name == SESSION_KNN]
    start = np.array([0, 2, last])
    entry = write_source(tmp_path, replace(sessions, start=start))
    read = read_source(tmp_path, entry)
    assert read.start.dtype == stored and read.start.tolist() == start.tolist()
    np.save(tmp_path / "session_knn.start.npy", start.astype(np.float64))
    with pytest.raises(FileCorrupt, match=r"start\.npy must be int32 or int64 of 1 dimensions"):
        read_source(tmp_path, entry)


def test_a_pickle_is_refused(folder):
    np.save(folder / "popularity.ranked.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(FileCorrupt, match="is not a plain"):
        read_blend(folder)


def test_not_a_number_is_no_weight(folder):
    found = tiny_payload.sources()
    weights = {RETRIEVAL: float("nan"), **{one.name: 1.0 for one in found}}
    write_blend(folder, BY_SOURCES, found, weights, np.zeros(40, bool))
    with pytest.raises(FileCorrupt, match="finite"):
        read_blend(folder)


@pytest.mark.parametrize(
    ("file", "dtype", "dimensions"),
    [("follow_ups.place", np.int32, 1), ("item_to_item.vectors", np.float32, 2)],
)
def test_tables_of_another_catalogue_are_refused(folder, file, dtype, dimensions):
    np.save(folder / f"{file}.npy", np.zeros((39, 2)[:dimensions], dtype))
    with pytest.raises(FileCorrupt, match=rf"{file}\.npy is of 39 items, young.npy of 40"):
        read_blend(folder)
