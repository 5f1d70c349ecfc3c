"""List a visitor's latest clicked items, for a query tower of items."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from recsys_assets.columns import ITEM_HISTORY, MISSING
from recsys_assets.lib.features.transforms import TransformsInvalid


class Indexed(Protocol):
    """Gives the index of an item, as ``Vocabulary`` and ``ItemIndex`` do."""

    def index(self, value: str | None) -> int:
        """Return the index of an item."""


def recent_items(
    vocabulary: Indexed, items: np.ndarray, ages: np.ndarray, counts: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return B visitors' latest items and their ages.

    Args:
        vocabulary: of item_id; the models' or the catalogue's.
        items: item_id of all visitors' clicks, "" where unknown, visitor after visitor, each
            oldest first.
        ages: float32, hours since each click.
        counts: clicks of each visitor, [B].

    Returns:
        int32 [B, ITEM_HISTORY] Categorify indices, newest first, 0 where there are fewer; and
        float32 [B, ITEM_HISTORY] ages, 0 where there is no click.

    Raises:
        TransformsInvalid: the counts do not add up to the number of items.

    >>> from recsys_assets.lib.features.transforms import Vocabulary
    >>> indices, hours = recent_items(
    ...     Vocabulary("item_id", ["a", "b"]),
    ...     np.array(["a", "b", "a"]),
    ...     np.array([9, 2, 1]),
    ...     [2, 1],
    ... )
    >>> indices[:, :3].tolist(), hours[:, :3].tolist()
    ([[4, 3, 0], [3, 0, 0]], [[2.0, 9.0, 0.0], [1.0, 0.0, 0.0]])
    """
    if min(counts, default=0) < 0 or not len(items) == len(ages) == sum(counts):
        raise TransformsInvalid(
            f"the visitors' clicks must add up to the {len(items)} items and {len(ages)} ages, got "
            f"{counts}"
        )
    shape = (len(counts), ITEM_HISTORY)
    indices, hours = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    end = 0
    for row, clicks in enumerate(counts):
        end += clicks
        kept = slice(end - min(clicks, ITEM_HISTORY), end)
        latest = items[kept].tolist()[::-1]
        indices[row, : len(latest)] = [vocabulary.index(item or MISSING) for item in latest]
        hours[row, : len(latest)] = ages[kept][::-1]
    return indices, hours
