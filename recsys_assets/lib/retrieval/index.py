"""Build, choose and check the FAISS index of item vectors.

Scores are inner products of L2-normalised vectors, that is cosines. The ids are Categorify indices,
so the ranker needs no translation. Below EXACT_LIMIT items, search is exact: a flat search over
2,465 x 64 takes 0.07 ms and misses nothing.

From EXACT_LIMIT on, the index is approximate: inverted lists (IVF: Sivic and Zisserman 2003) or a
navigable small-world graph (HNSW: Malkov and Yashunin 2018). Which one is faster at a given recall
depends on the vectors, so both are built and measured.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.files import replacing

#: From this many items on, search is approximate.
EXACT_LIMIT = 50_000
#: Neighbours for the measurement of recall, as many as retrieval hands on.
NEIGHBOURS = 300
#: Least recall of an approximate index and of an exact one (which may differ only in ties).
RECALL_FLOOR, EXACT_FLOOR = 0.99, 0.999
FLAT, IVF, HNSW = "flat", "ivf", "hnsw"

_TRAINING_VECTORS_PER_LIST = 64
_LINKS, _CONSTRUCTION = 32, 80  # HNSW: neighbours per node, and efConstruction
_WIDEST_SEARCH = 4_096  # efSearch; a wider HNSW search is slower than a scan
_TIMED_QUERIES, _TIMED_ROUNDS = 64, 3
_CHUNK = 64


@dataclass(frozen=True)
class Trial:
    """Holds the measurements of one index with one setting."""

    kind: str
    setting: int  # nprobe of IVF, efSearch of HNSW, 0 of a flat index
    recall: float
    ms_a_query: float  # milliseconds per query on one thread
    bytes: int


def build_index(vectors: np.ndarray, ids: np.ndarray, kind: str = FLAT, seed: int = 7) -> Any:
    """Build a FAISS index.

    Args:
        vectors: float32 [I, D].
        ids: integer [I], unique and not negative.
        kind: FLAT, IVF or HNSW. IVF and HNSW have their narrowest search until ``set_search``.
        seed: random seed of the IVF clusters.

    Raises:
        ValueError: shapes disagree, ids repeat or are negative, a value is not finite, or the kind
            is unknown.
    """
    import faiss

    ids, vectors = np.asarray(ids, np.int64), np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or ids.shape != (len(vectors),) or not len(ids):
        raise ValueError(
            f"vectors {vectors.shape} and ids {ids.shape} must be [I, D] and [I], with I at least 1"
        )
    if len(np.unique(ids)) != len(ids) or ids.min() < 0:
        raise ValueError(
            "ids must be unique and not negative: FAISS returns -1 if it finds too few items"
        )
    if not np.isfinite(vectors).all():
        raise ValueError(
            "vectors hold values that are not finite; check the training of the item tower"
        )
    dim = vectors.shape[1]
    if kind == FLAT:
        index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
    elif kind == HNSW:
        graph = faiss.IndexHNSWFlat(dim, _LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = _CONSTRUCTION
        index = faiss.IndexIDMap2(graph)
    elif kind == IVF:
        lists = max(1, min(int(4 * np.sqrt(len(ids))), len(ids)))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.cp.min_points_per_centroid = seed, 1
        sample = np.random.default_rng(seed).permutation(len(ids))[
            : lists * _TRAINING_VECTORS_PER_LIST
        ]
        index.train(vectors[np.sort(sample)])
    else:
        raise ValueError(f"kind {kind!r} is none of {FLAT!r}, {IVF!r}, {HNSW!r}")
    index.add_with_ids(vectors, ids)
    return index


def set_search(index: Any, kind: str, setting: int) -> None:
    """Set the width of the search: nprobe of IVF, efSearch of HNSW.

    ``save_index`` saves the setting with the index.
    """
    import faiss

    if kind == IVF:
        index.nprobe = setting
    elif kind == HNSW:
        graph: Any = faiss.downcast_index(index.index)  # an IndexHNSW; the stub has its base
        graph.hnsw.efSearch = setting


def choose_index(
    vectors: np.ndarray,
    ids: np.ndarray,
    queries: np.ndarray,
    *,
    floor: float = RECALL_FLOOR,
    k: int = NEIGHBOURS,
    exact_limit: int = EXACT_LIMIT,
    seed: int = 7,
) -> tuple[Any, Trial, list[Trial]]:
    """Return the exact index, or from the limit on the fastest with enough recall.

    IVF and HNSW are tried with ever wider searches, until they reach the floor or are slower than
    an index that has reached it. IVF that probes every list is exact, so there is always a choice.

    Args:
        vectors: float32 [I, D].
        ids: int [I].
        queries: float32 [Q, D], a sample of those that will be searched.
        floor: least recall of brute force's k neighbours.
        k: number of neighbours.
        exact_limit: number of items from which on the index is approximate.
        seed: see ``build_index``.

    Returns:
        The index with its setting, its trial, and all trials, the exact one first.

    Raises:
        ValueError: the floor is not within (0, 1], there is no query, or as ``build_index``.
    """
    if not 0 < floor <= 1:
        raise ValueError(f"recall_floor must be above 0 and at most 1, got {floor}")
    if queries.ndim != 2 or not len(queries) or queries.shape[1] != vectors.shape[1]:
        raise ValueError(
            f"queries {queries.shape} must be [Q, {vectors.shape[1]}] with Q at least 1, to "
            "measure recall on"
        )
    flat = build_index(vectors, ids, FLAT, seed)
    trials = [_trial(flat, FLAT, 0, 1.0, queries, k)]
    if len(ids) < exact_limit:
        return flat, trials[0], trials
    reached: list[tuple[Trial, Any]] = []
    for kind in (IVF, HNSW):
        index = build_index(vectors, ids, kind, seed)
        for setting in _settings(kind, index, k):
            set_search(index, kind, setting)
            recall = check_index(index, vectors, ids, queries, k)["recall"]
            trials.append(_trial(index, kind, setting, recall, queries, k))
            if recall >= floor:
                reached.append((trials[-1], index))
            fastest = min((trial.ms_a_query for trial, _ in reached), default=np.inf)
            if recall >= floor or trials[-1].ms_a_query > fastest:
                break  # a wider search would be slower
    chosen, index = min(reached, key=lambda pair: pair[0].ms_a_query)
    return index, chosen, trials


def _settings(kind: str, index: Any, k: int) -> list[int]:
    """Return the search widths to try, each twice the one before.

    Those of IVF end with all lists. Those of HNSW begin at k, which is FAISS's minimum.
    """
    first, last = (1, index.nlist) if kind == IVF else (k, max(k, _WIDEST_SEARCH))
    widths = [first]
    while widths[-1] < last:
        widths.append(min(2 * widths[-1], last))
    return widths


def _trial(
    index: Any, kind: str, setting: int, recall: float, queries: np.ndarray, k: int
) -> Trial:
    """Measure time and size of an index."""
    import faiss

    asked = np.ascontiguousarray(queries[:_TIMED_QUERIES], np.float32)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # serving searches one query at a time
    try:
        times = []
        for row in range(len(asked)):
            rounds = []
            for _ in range(_TIMED_ROUNDS):
                start = time.perf_counter()
                index.search(asked[row : row + 1], min(k, index.ntotal))
                rounds.append(time.perf_counter() - start)
            times.append(min(rounds))  # the minimum excludes interruptions by other processes
    finally:
        faiss.omp_set_num_threads(threads)
    return Trial(
        kind, setting, recall, float(np.median(times)) * 1e3, int(faiss.serialize_index(index).size)
    )


def check_index(
    index: Any, vectors: np.ndarray, ids: np.ndarray, queries: np.ndarray, k: int = NEIGHBOURS
) -> dict[str, float]:
    """Compare the index with brute force.

    Args:
        index: the FAISS index.
        vectors: float32 [I, D], as the index was built.
        ids: int [I], as the index was built.
        queries: float32 [Q, D].
        k: number of neighbours.

    Returns:
        {"recall": share of the true k nearest that the index finds; a tie at the border counts as
        found, "max_score_error": largest difference between a returned score and the inner product
        with that id's vector, which shows ids that were mixed up}.
    """
    vectors, queries = np.asarray(vectors, np.float32), np.ascontiguousarray(queries, np.float32)
    k = min(k, len(ids))
    order = np.argsort(ids)
    hits, error = 0, 0.0
    # For a large catalogue, a matrix [Q, I] would not fit into memory.
    for start in range(0, len(queries), _CHUNK):
        asked = queries[start : start + _CHUNK]
        truth = asked @ vectors.T
        kth = -np.partition(-truth, k - 1, axis=1)[:, k - 1]
        scores, found = index.search(asked, k)
        place = np.minimum(np.searchsorted(ids, found, sorter=order), len(ids) - 1)
        own = np.take_along_axis(truth, order[place], axis=1)
        valid = found >= 0
        hits += int((valid & (own >= kth[:, None] - 1e-6)).sum())
        error = max(error, float(np.abs(own - scores)[valid].max(initial=0.0)))
    return {"recall": hits / (len(queries) * k), "max_score_error": error}


def trials_table(trials: list[Trial], chosen: Trial) -> list[dict[str, Any]]:
    """Return the trials as rows of a table; ``chosen`` marks the chosen one."""
    return [{**asdict(trial), "chosen": trial == chosen} for trial in trials]


def add_to_index(index: Any, vectors: np.ndarray, ids: np.ndarray) -> None:
    """Add items to an index of any kind; the vectors and ids that it has stay as they are.

    Args:
        index: of ``build_index`` or ``load_index``.
        vectors: float32 [A, D].
        ids: integer [A], unique, each above every id of the index.

    Raises:
        ValueError: shapes disagree, an id repeats, or a value is not finite.
    """
    ids, vectors = np.asarray(ids, np.int64), np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != index.d or ids.shape != (len(vectors),):
        raise ValueError(
            f"vectors {vectors.shape} and ids {ids.shape} must be [A, {index.d}] and [A]"
        )
    if len(np.unique(ids)) != len(ids) or ids.min(initial=index.ntotal) < index.ntotal:
        raise ValueError(f"ids repeat, or one of them is already one of the {index.ntotal} items")
    if not np.isfinite(vectors).all():
        raise ValueError("vectors hold values that are not finite; check the item tower")
    index.add_with_ids(vectors, ids)


def save_index(index: Any, path: Path) -> None:
    """Write the index atomically: a reader sees the old file or the new one."""
    import faiss

    with replacing(path) as temporary:
        faiss.write_index(index, str(temporary))


def load_index(path: Path) -> Any:
    """Read an index that ``save_index`` wrote.

    Raises:
        FileNotFoundError: there is no such file.
    """
    import faiss

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; materialise retrieval/faiss_index first")
    return faiss.read_index(str(path))
