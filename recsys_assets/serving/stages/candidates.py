"""The candidates of several visitors in one tensor: one visitor's after the other's, and how many are whose."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recsys_assets.columns import CANDIDATE_CONTINUOUS, EMBEDDING_DIM, QUERY_CATEGORICAL, QUERY_CONTINUOUS
from recsys_assets.serving.stage import StageInputInvalid, TensorSpec

KEPT, KEPT_COUNTS = TensorSpec("kept", "INT32", (-1,)), TensorSpec("kept_counts", "INT32", (-1,))
KEPT_SIMILARITY = TensorSpec("kept_similarity", "FP32", (-1,))
#: The ranker's columns: a visitor's and his context's once a visitor, [B, …], and the rest once a candidate.
VISITOR_CAT = TensorSpec("visitor_cat", "INT32", (-1, len(QUERY_CATEGORICAL)))
VISITOR_CONT = TensorSpec("visitor_cont", "FP32", (-1, len(QUERY_CONTINUOUS)))
CANDIDATE_CONT = TensorSpec("candidate_cont", "FP32", (-1, len(CANDIDATE_CONTINUOUS)))
ITEM_EMBEDDINGS = TensorSpec("item_embeddings", "FP32", (-1, 2 * EMBEDDING_DIM))  # text, then image


def parts(counts: np.ndarray) -> Iterator[slice]:
    """Each visitor's part of the flat tensors.

    >>> list(parts(np.array([2, 0, 1])))
    [slice(0, 2, None), slice(2, 2, None), slice(2, 3, None)]
    """
    end = 0
    for count in counts.tolist():
        begin, end = end, end + count
        yield slice(begin, end)


def require_counts(name: str, counts: np.ndarray, total: int, visitors: int | None = None) -> None:
    """Raise StageInputInvalid unless the counts are not negative and add up, and there is one for each visitor."""
    if visitors is not None and len(counts) != visitors:
        raise StageInputInvalid(f"{name} must have one count for each of {visitors} visitors, got {len(counts)}")
    values = counts.tolist()  # of few visitors, so that Python's own sum is the fastest
    if sum(values) != total or min(values, default=0) < 0:
        raise StageInputInvalid(f"{name} must add up to {total}, got {values[:10]}")
