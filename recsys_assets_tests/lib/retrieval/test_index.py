"""The index against brute force, small and exact or large and approximate."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.lib.retrieval import index as ix


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def catalogue() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return unit(rng.standard_normal((500, 16))), (3 + rng.permutation(500)).astype(np.int32)


@pytest.fixture(scope="module")
def large() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw 60,000 vectors in groups, as those of items, and queries between the groups."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((400, 16))
    vectors = unit(centres[rng.integers(0, 400, 60_000)] + 0.4 * rng.standard_normal((60_000, 16)))
    queries = unit(centres[rng.integers(0, 400, 120)] + 0.6 * rng.standard_normal((120, 16)))
    return vectors, (3 + rng.permutation(60_000)).astype(np.int32), queries


@pytest.fixture(scope="module")
def chosen(large):
    vectors, ids, queries = large
    return ix.choose_index(vectors, ids, queries, floor=0.95)


def test_exact_search_returns_the_given_ids(catalogue):
    vectors, ids = catalogue
    index, trial, trials = ix.choose_index(vectors, ids, vectors[:50])
    assert trial.kind == ix.FLAT and trials == [trial] and trial.bytes > vectors.nbytes
    checked = ix.check_index(index, vectors, ids, vectors[:50], k=100)
    assert checked["recall"] == 1.0 and checked["max_score_error"] < 1e-5
    scores, found = index.search(vectors[:20], 5)
    order = np.argsort(-(vectors[:20] @ vectors.T), axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(found, ids[order])
    assert found[:, 0].tolist() == ids[:20].tolist()
    np.testing.assert_allclose(scores[:, 0], 1.0, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_tiny_catalogue_has_an_exact_index(catalogue, count):
    vectors, ids = catalogue[0][:count], catalogue[1][:count]
    index, trial, _ = ix.choose_index(vectors, ids, vectors)
    assert trial.kind == ix.FLAT and index.ntotal == count
    assert ix.check_index(index, vectors, ids, vectors)["recall"] == 1.0


@pytest.mark.slow
def test_many_items_get_the_fastest_index_that_reaches_the_floor(large, chosen):
    vectors, ids, queries = large
    index, trial, trials = chosen
    assert trial.kind in (ix.IVF, ix.HNSW) and index.ntotal == 60_000
    # recall as brute force counts it, apart from check_index
    truth = queries @ vectors.T
    nearest = ids[np.argsort(-truth, axis=1)[:, : ix.NEIGHBOURS]]
    _, found = index.search(queries, ix.NEIGHBOURS)
    share = (
        np.mean([len(np.intersect1d(a, b)) for a, b in zip(nearest, found, strict=True)])
        / ix.NEIGHBOURS
    )
    assert share == pytest.approx(trial.recall, abs=1e-3) and trial.recall >= 0.95
    reached = [t for t in trials[1:] if t.recall >= 0.95]
    assert {t.kind for t in reached} <= {ix.IVF, ix.HNSW} and trial.ms_a_query == min(
        t.ms_a_query for t in reached
    )
    assert trials[0].kind == ix.FLAT and trial.ms_a_query < trials[0].ms_a_query


def test_each_kind_widens_until_the_floor_and_no_further(chosen):
    for kind in (ix.IVF, ix.HNSW):
        tried = [t for t in chosen[2] if t.kind == kind]
        assert [t.setting for t in tried] == sorted({t.setting for t in tried})
        assert all(t.recall < 0.95 for t in tried[:-1])
    ivf = [t for t in chosen[2] if t.kind == ix.IVF]
    assert len(ivf) > 2 and ivf[0].setting == 1 and ivf[0].recall < ivf[-1].recall >= 0.95


def test_the_settings_survive_the_file(large, chosen, tmp_path):
    vectors, ids, queries = large
    ix.save_index(chosen[0], tmp_path / "index.faiss")
    loaded = ix.load_index(tmp_path / "index.faiss")
    assert ix.check_index(loaded, vectors, ids, queries)["recall"] == pytest.approx(
        chosen[1].recall, abs=1e-9
    )


def test_a_floor_of_one_is_always_reached(catalogue):
    vectors, ids = catalogue
    index, trial, _ = ix.choose_index(vectors, ids, vectors[:40], floor=1.0, k=50, exact_limit=100)
    assert trial.recall == 1.0 and trial.kind != ix.FLAT
    assert ix.check_index(index, vectors, ids, vectors[:40], k=50)["recall"] == 1.0


@pytest.mark.parametrize("kind", [ix.IVF, ix.HNSW])
def test_the_check_sees_an_index_that_searches_too_little(large, kind):
    vectors, ids, queries = large
    index = ix.build_index(vectors[:5000], ids[:5000], kind)
    narrow = ix.check_index(index, vectors[:5000], ids[:5000], queries, k=100)
    assert narrow["recall"] < 0.999 and narrow["max_score_error"] < 1e-5
    ix.set_search(index, kind, index.nlist if kind == ix.IVF else 4000)
    assert ix.check_index(index, vectors[:5000], ids[:5000], queries, k=100)["recall"] > max(
        0.999, narrow["recall"]
    )


def test_the_check_sees_mixed_up_ids(catalogue):
    vectors, ids = catalogue
    checked = ix.check_index(ix.build_index(vectors, ids[::-1]), vectors, ids, vectors, k=10)
    assert checked["recall"] < 0.2 and checked["max_score_error"] > 0.5


def test_a_list_longer_than_the_catalogue(catalogue):
    vectors, ids = catalogue
    assert (
        ix.check_index(ix.build_index(vectors[:7], ids[:7]), vectors[:7], ids[:7], vectors, k=100)[
            "recall"
        ]
        == 1.0
    )


def test_saved_and_loaded_it_answers_the_same(catalogue, tmp_path):
    vectors, ids = catalogue
    index = ix.build_index(vectors, ids)
    ix.save_index(index, tmp_path / "sub" / "index.faiss")
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["index.faiss"]
    loaded = ix.load_index(tmp_path / "sub" / "index.faiss")
    for one, other in zip(index.search(vectors, 9), loaded.search(vectors, 9), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(FileNotFoundError, match="retrieval/faiss_index"):
        ix.load_index(tmp_path / "none.faiss")


def test_bad_input_is_named(catalogue):
    vectors, ids = catalogue
    with pytest.raises(ValueError, match="unique and not negative"):
        ix.build_index(vectors[:2], np.array([4, 4]))
    with pytest.raises(ValueError, match="unique and not negative"):
        ix.build_index(vectors[:2], np.array([-1, 4]))
    with pytest.raises(ValueError, match=r"must be \[I, D\] and \[I\]"):
        ix.build_index(vectors[:2], ids[:3])
    with pytest.raises(ValueError, match="not finite"):
        ix.build_index(np.full((2, 4), np.nan), ids[:2])
    with pytest.raises(ValueError, match="kind 'tree' is none of"):
        ix.build_index(vectors, ids, "tree")
    with pytest.raises(ValueError, match="recall_floor must be above 0"):
        ix.choose_index(vectors, ids, vectors, floor=0.0)
    with pytest.raises(ValueError, match=r"queries \(0, 16\) must be \[Q, 16\]"):
        ix.choose_index(vectors, ids, vectors[:0])


@pytest.mark.parametrize("kind", [ix.FLAT, ix.IVF, ix.HNSW])
def test_added_items_are_found_and_the_others_keep_their_bytes(catalogue, kind, tmp_path):
    vectors, ids = catalogue
    ids = np.sort(ids)
    ix.save_index(ix.build_index(vectors[:400], ids[:400], kind), tmp_path / "index.faiss")
    grown = ix.load_index(tmp_path / "index.faiss")
    ix.add_to_index(grown, vectors[400:], ids[400:])
    ix.save_index(grown, tmp_path / "grown.faiss")
    before, after = (ix.load_index(tmp_path / name) for name in ("index.faiss", "grown.faiss"))
    assert (before.ntotal, after.ntotal) == (400, 500)
    if kind == ix.IVF:  # vectors by id
        for one in (before, after):
            one.set_direct_map_type(2)  # faiss.DirectMap.Hashtable
        ix.set_search(after, kind, 1_000)
    elif kind == ix.HNSW:
        ix.set_search(after, kind, 500)
    assert (
        before.reconstruct_batch(ids[:400].astype(np.int64)).tobytes()
        == after.reconstruct_batch(ids[:400].astype(np.int64)).tobytes()
        == vectors[:400].tobytes()
    )
    _, found = after.search(vectors[400:], 1)
    assert found[:, 0].tolist() == ids[400:].tolist()
    assert ix.check_index(after, vectors, ids, vectors[:50], k=20)["recall"] > 0.95


@pytest.mark.parametrize(
    ("ids", "width", "value", "says"),
    [
        ([503, 503], 16, 0.0, "ids repeat"),
        ([2, 503], 16, 0.0, "already one of the 500 items"),
        ([503, 504], 8, 0.0, r"must be \[A, 16\]"),
        ([503, 504], 16, np.nan, "not finite"),
    ],
)
def test_items_that_cannot_be_added_are_refused(catalogue, ids, width, value, says):
    index = ix.build_index(*catalogue)
    with pytest.raises(ValueError, match=says):
        ix.add_to_index(index, np.full((2, width), value, np.float32), np.array(ids))
    assert index.ntotal == 500
