from __future__ import annotations

import threading

import faiss
import numpy as np
import pytest

from recsys_assets.files import FileCorrupt
from recsys_assets.release_files import INDEX
from recsys_assets.serving.stages.retrieval import OVER_FETCH, FaissRetrieval, Searcher
from recsys_assets.settings import Settings
from recsys_assets_tests.support import stage_runs

ITEMS = 500
VECTORS = np.random.default_rng(1).normal(size=(ITEMS, 64)).astype(np.float32)
QUERIES = np.random.default_rng(2).normal(size=(40, 64)).astype(np.float32)


def index_of(vectors: np.ndarray, kind: str = "IDMap2,Flat") -> faiss.Index:
    index = faiss.index_factory(64, kind, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        index.train(vectors)
    index.add_with_ids(vectors, np.arange(3, 3 + len(vectors)))
    return index


@pytest.fixture(scope="module")
def searcher() -> Searcher:
    return Searcher(index_of(VECTORS))


def test_best_first_as_brute_force_says(searcher):
    for query in QUERIES:
        items, similarity = searcher.search(query, 50)
        products = VECTORS @ query
        assert items.tolist() == (np.argsort(-products)[:50] + 3).tolist()
        np.testing.assert_allclose(similarity, np.sort(products)[::-1][:50], atol=1e-5)


def test_a_wider_search_begins_with_the_narrower_one(searcher):
    whole = searcher.search(QUERIES[0], ITEMS)
    for count in (1, 20, 99, 100, 101, 400, 10_000):
        for part, everything in zip(searcher.search(QUERIES[0], count), whole, strict=True):
            assert part.tobytes() == everything[:count].tobytes()


def test_equal_items_come_in_one_order():
    vectors = VECTORS.copy()
    vectors[100:220] = vectors[0]
    twins = Searcher(index_of(vectors))
    for count in (150, 300, ITEMS):
        items, similarity = twins.search(vectors[0], count)
        assert items[:121].tolist() == [3, *range(103, 223)] and (np.diff(similarity) <= 0).all()


def test_padding_is_dropped():
    lists = index_of(VECTORS, "IVF64,Flat")
    lists.nprobe = 1
    items, similarity = Searcher(lists).search(QUERIES[0], 400)
    assert 0 < len(items) == len(similarity) < 400 and items.min() >= 3


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["IDMap2,Flat", "IVF16,Flat", "IDMap2,HNSW8"])
def test_a_query_that_is_no_number_finds_nothing(wrong, kind):
    query = QUERIES[0].copy()
    query[7] = wrong
    items, similarity = Searcher(index_of(VECTORS, kind)).search(query, 10)
    assert (
        items.shape == similarity.shape == (0,)
        and items.dtype == np.int32
        and similarity.dtype == np.float32
    )
    for huge in (3e38, -3e38):
        assert set(
            Searcher(index_of(VECTORS, kind)).search(np.full(64, huge, np.float32), 10)[0].tolist()
        ) <= set(range(3, 3 + ITEMS))


def test_many_visitors_are_answered_as_one_by_one(searcher):
    stage = FaissRetrieval(searcher, 70)
    queries = QUERIES.copy()
    queries[5] = np.nan
    together = stage_runs.run(stage, query_embedding=queries)
    alone = [stage_runs.run(stage, query_embedding=query[None]) for query in queries]
    for name, found in together.items():
        assert found.tobytes() == np.concatenate([one[name] for one in alone]).tobytes()
    assert together["candidate_counts"].tolist() == [70] * 5 + [0] + [70] * 34


def write(folder, index: faiss.Index) -> None:
    faiss.write_index(index, str(folder / INDEX))


def test_opened_once_a_process_and_as_wide_as_the_settings_say(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, index_of(VECTORS))
    stage = FaissRetrieval.open(tmp_path / "one", Settings(home=tmp_path, retrieval_topk=30), 1)
    assert stage_runs.run(stage, query_embedding=QUERIES[:1])["candidate_counts"].tolist() == [
        30 + OVER_FETCH
    ]
    assert Searcher.open(tmp_path / "two" / INDEX) is stage._searcher
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(stage_runs.run(stage, query_embedding=QUERIES))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one["candidates"].tobytes() for one in found}) == 1 and len(found) == 4


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda folder: (folder / INDEX).write_bytes(b"no index"), "is not a FAISS index"),
        (
            lambda folder: write(folder, faiss.IndexFlatIP(32)),
            "must hold vectors of 64, got 0 of 32",
        ),
        (lambda folder: write(folder, faiss.IndexFlatIP(64)), "got 0 of 64"),
        (
            lambda folder: write(folder, faiss.index_factory(64, "IDMap2,Flat", faiss.METRIC_L2)),
            "got 0 of 64",
        ),
    ],
)
def test_what_is_no_index_is_refused(tmp_path, broken, message):
    broken(tmp_path)
    with pytest.raises(FileCorrupt, match=message):
        Searcher.open(tmp_path / INDEX)


def test_another_metric_is_refused(tmp_path):
    index = faiss.IndexFlatL2(64)
    index.add(VECTORS)
    write(tmp_path, index)
    with pytest.raises(FileCorrupt, match="must search by inner product"):
        Searcher.open(tmp_path / INDEX)


@pytest.mark.parametrize("kind", ["IDMap2,Flat", "IVF4,Flat"])
def test_of_equal_items_the_lowest_are_taken_where_only_some_are_wanted(kind):
    """As in MovieLens, where 811 of 1,447 items have neither texts nor clicks to tell them apart.

    FAISS alone takes any of them.
    """
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(1_500, 64)).astype(np.float32)
    equal = np.sort(rng.choice(1_500, 800, replace=False))
    vectors[equal] = vectors[equal[0]]
    index = index_of(vectors, kind)
    if kind.startswith("IVF"):
        index.nprobe = 4
    wide = Searcher(index)
    for query in QUERIES[:20]:
        every, similarity = wide.search(query, 1_500)
        places = np.flatnonzero(np.isin(every, equal + 3))
        above = int(places[0])
        np.testing.assert_array_equal(every[places], equal + 3)
        np.testing.assert_array_equal(places, np.arange(above, above + 800))
        for count in (max(1, above), above + 1, above + 157, above + 799, above + 800):
            items, near = wide.search(query, count)
            np.testing.assert_array_equal(items, every[:count])
            np.testing.assert_array_equal(near, similarity[:count])
