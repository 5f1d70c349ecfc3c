"""The candidates of several visitors in one tensor: one visitor's after the other's, and how many are whose."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recsys_assets.columns import EMBEDDING_DIM, RANKER_CATEGORICAL, RANKER_CONTINUOUS
from recsys_assets.serving.stage import StageInputInvalid, TensorSpec

KEPT, KEPT_COUNTS = TensorSpec("kept", "INT32", (-1,)), TensorSpec("kept_counts", "INT32", (-1,))
KEPT_SIMILARITY = TensorSpec("kept_similarity", "FP32", (-1,))
RANKER_CAT = TensorSpec("ranker_cat", "INT32", (-1, len(RANKER_CATEGORICAL)))
RANKER_CONT = TensorSpec("ranker_cont", "FP32", (-1, len(RANKER_CONTINUOUS)))
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
    if counts.min(initial=0) < 0 or counts.sum() != total:
        raise StageInputInvalid(f"{name} must add up to {total}, got {counts.tolist()[:10]}")
