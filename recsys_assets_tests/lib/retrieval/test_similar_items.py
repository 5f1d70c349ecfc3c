"""Similar items against brute force, on every kind of index that a release may have."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.columns import VOCABULARY_START
from recsys_assets.lib.retrieval import similar_items as subject
from recsys_assets.lib.retrieval.index import FLAT, HNSW, IVF, build_index, save_index, set_search
from recsys_assets.lib.retrieval.similar_items import NEIGHBOURS, similar_items


def vectors(count: int) -> np.ndarray:
    made = np.random.default_rng(3).normal(size=(count, 16)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def written(folder, made, kind=FLAT, ids=None, setting=None):
    ids = np.arange(VOCABULARY_START, VOCABULARY_START + len(made)) if ids is None else ids
    index = build_index(made, ids, kind)
    if setting is not None:
        set_search(index, kind, setting)
    save_index(index, folder / "index.faiss")
    return folder / "index.faiss"


def brute_force(made: np.ndarray) -> np.ndarray:
    scores = made @ made.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :NEIGHBOURS] + VOCABULARY_START


@pytest.mark.parametrize(("kind", "setting"), [(FLAT, None), (IVF, 10_000), (HNSW, 500)])
def test_the_nearest_others_of_every_item(tmp_path, monkeypatch, kind, setting):
    for name, value in (("_CHUNK", 100), ("_LISTS", 10_000), ("_NODES", 10_000)):
        monkeypatch.setattr(subject, name, value)
    made = vectors(450)
    found = similar_items(written(tmp_path, made, kind, setting=setting), len(made))
    assert found.shape == (450, NEIGHBOURS) and found.dtype == np.int32
    agreeing = (found == brute_force(made)).mean()
    assert agreeing == 1.0 if kind != HNSW else agreeing > 0.95  # the graph is approximate
    assert not (found == np.arange(VOCABULARY_START, VOCABULARY_START + 450)[:, None]).any(), (
        "an item is similar to itself"
    )


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_tiny_catalogue_has_as_many_as_there_are(tmp_path, count):
    made = vectors(count)
    found = similar_items(written(tmp_path, made), count)
    assert found.shape == (count, count - 1) and found.dtype == np.int32
    assert (found == brute_force(made)[:, : count - 1]).all()


def test_a_wide_search_is_narrowed(tmp_path, monkeypatch):
    made = vectors(450)
    narrow = similar_items(written(tmp_path, made, IVF, setting=2), len(made))
    monkeypatch.setattr(subject, "_LISTS", 2)
    assert (similar_items(written(tmp_path, made, IVF, setting=10_000), len(made)) == narrow).all()


def test_a_search_too_narrow_is_padded_at_the_end(tmp_path):
    made = vectors(450)
    found = similar_items(written(tmp_path, made, IVF, setting=1), len(made))
    padded = found == -1
    assert padded.any() and (np.diff(padded.astype(int), axis=1) >= 0).all()


def test_equal_vectors_do_not_hide_each_other(tmp_path):
    made = np.repeat(vectors(2), 40, axis=0)  # an item may not even be among its own nearest
    found = similar_items(written(tmp_path, made), len(made))
    assert (found >= VOCABULARY_START).all() and all(
        len(set(row)) == NEIGHBOURS for row in found.tolist()
    )
    assert not (found == np.arange(VOCABULARY_START, VOCABULARY_START + 80)[:, None]).any()


def test_items_without_a_vector_have_none_and_a_single_item_is_alone(tmp_path):
    found = similar_items(written(tmp_path, vectors(3), ids=np.array([3, 5, 8])), 6)
    assert found.shape == (6, 2)
    assert found[[1, 3, 4]].tolist() == [[-1, -1]] * 3 and sorted(found[0].tolist()) == [5, 8]
    assert similar_items(written(tmp_path, vectors(1)), 1).shape == (1, 0)


@pytest.mark.parametrize(("kind", "setting"), [(FLAT, None), (IVF, 10_000)])
def test_the_rows_of_added_items_are_those_of_the_whole_index(tmp_path, monkeypatch, kind, setting):
    for name, value in (("_CHUNK", 40), ("_LISTS", 10_000)):
        monkeypatch.setattr(subject, name, value)
    made = vectors(450)
    path = written(tmp_path, made, kind, setting=setting)
    whole = similar_items(path, 450)
    added = subject.similar_to(path, VOCABULARY_START + 350, NEIGHBOURS)
    np.testing.assert_array_equal(added, whole[350:])


def test_a_row_has_the_width_of_the_items_before(tmp_path):
    path = written(tmp_path, vectors(4))
    narrow, wide = (subject.similar_to(path, VOCABULARY_START + 3, n) for n in (2, 5))
    assert narrow.shape == (1, 2) and wide.shape == (1, 5)
    assert wide[0, 3:].tolist() == [-1, -1] and set(wide[0, :3]) == {3, 4, 5}
    assert narrow[0].tolist() == wide[0, :2].tolist()
