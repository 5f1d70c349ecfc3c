"""Split flat tensors of several visitors' candidates by visitor.

One visitor's candidates follow the other's, and a tensor of counts gives their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recsys_assets.serving.stages.stage import StageInputInvalid


def parts(counts: np.ndarray) -> Iterator[slice]:
    """Yield each visitor's part of the flat tensors.

    >>> list(parts(np.array([2, 0, 1])))
    [slice(0, 2, None), slice(2, 2, None), slice(2, 3, None)]
    """
    end = 0
    for count in counts.tolist():
        begin, end = end, end + count
        yield slice(begin, end)


def require_counts(name: str, counts: np.ndarray, total: int, visitors: int | None = None) -> None:
    """Raise StageInputInvalid unless the counts of visitors fit the total.

    They must not be negative, must add up to the total, and must be one per visitor.
    """
    if visitors is not None and len(counts) != visitors:
        raise StageInputInvalid(
            f"{name} must have one count for each of {visitors} visitors, got {len(counts)}"
        )
    values = counts.tolist()  # few visitors: Python's own sum is the fastest
    if sum(values) != total or min(values, default=0) < 0:
        raise StageInputInvalid(f"{name} must add up to {total}, got {values[:10]}")
