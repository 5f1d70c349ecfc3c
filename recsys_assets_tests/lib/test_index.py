"""The index against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.lib.index import build_index, check_index, load_index, save_index


@pytest.fixture(scope="module")
def catalogue() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((500, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, (3 + rng.permutation(500)).astype(np.int32)


def test_exact_search_returns_the_given_ids(catalogue):
    vectors, ids = catalogue
    index = build_index(vectors, ids)
    checked = check_index(index, vectors, ids, vectors[:50])
    assert checked["recall"] == 1.0 and checked["max_score_error"] < 1e-5
    scores, found = index.search(vectors[:20], 5)
    order = np.argsort(-(vectors[:20] @ vectors.T), axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(found, ids[order])
    assert found[:, 0].tolist() == ids[:20].tolist()
    np.testing.assert_allclose(scores[:, 0], 1.0, atol=1e-5)


def test_many_items_get_inverted_lists(catalogue):
    vectors, ids = catalogue
    index = build_index(vectors, ids, exact_limit=100)
    assert 0.1 < check_index(index, vectors, ids, vectors, k=10)["recall"] < 1.0  # approximate, and the check sees it
    index.nprobe = index.nlist
    assert check_index(index, vectors, ids, vectors, k=10)["recall"] == 1.0


def test_the_check_sees_mixed_up_ids(catalogue):
    vectors, ids = catalogue
    checked = check_index(build_index(vectors, ids[::-1]), vectors, ids, vectors, k=10)
    assert checked["recall"] < 0.2 and checked["max_score_error"] > 0.5


def test_a_list_longer_than_the_catalogue(catalogue):
    vectors, ids = catalogue
    assert check_index(build_index(vectors[:7], ids[:7]), vectors[:7], ids[:7], vectors, k=100)["recall"] == 1.0


def test_saved_and_loaded_it_answers_the_same(catalogue, tmp_path):
    vectors, ids = catalogue
    index = build_index(vectors, ids)
    save_index(index, tmp_path / "sub" / "index.faiss")
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["index.faiss"]
    loaded = load_index(tmp_path / "sub" / "index.faiss")
    for one, other in zip(index.search(vectors, 9), loaded.search(vectors, 9), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(FileNotFoundError, match="retrieval/faiss_index"):
        load_index(tmp_path / "none.faiss")


def test_bad_input_is_named(catalogue):
    vectors, ids = catalogue
    with pytest.raises(ValueError, match="unique and not negative"):
        build_index(vectors[:2], np.array([4, 4]))
    with pytest.raises(ValueError, match="unique and not negative"):
        build_index(vectors[:2], np.array([-1, 4]))
    with pytest.raises(ValueError, match=r"must be \[I, D\] and \[I\]"):
        build_index(vectors[:2], ids[:3])
    with pytest.raises(ValueError, match="not finite"):
        build_index(np.full((2, 4), np.nan), ids[:2])
