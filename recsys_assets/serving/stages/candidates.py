"""The candidates of several visitors in one tensor: one visitor's after the other's, and how many
are whose.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recsys_assets.serving.stages.stage import StageInputInvalid


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
    """Raise StageInputInvalid unless the counts are not negative and add up, and there is one for
    each visitor.
    """
    if visitors is not None and len(counts) != visitors:
        raise StageInputInvalid(
            f"{name} must have one count for each of {visitors} visitors, got {len(counts)}"
        )
    values = counts.tolist()  # of few visitors, so that Python's own sum is the fastest
    if sum(values) != total or min(values, default=0) < 0:
        raise StageInputInvalid(f"{name} must add up to {total}, got {values[:10]}")
