"""Index the items of a release: those of the vocabulary, then those that fine-tunes added.

The models know the items of the vocabulary that they were trained with. An item that came later has
an index after them, by which the FAISS index, the embedding table, the sources and the item table
have it. To the models it is what it was before: out-of-vocabulary, or the row of its hash bucket.
So an added item changes no index and no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from recsys_assets.columns import ITEM_ID, MISSING, NULL_INDEX, OOV_INDEX, VOCABULARY_START

#: Key of ``transforms.json``: ids of the items that fine-tunes added, in index order.
ADDED_ITEMS = "added_items"


class ItemVocabulary(Protocol):
    """Gives the models' index of an item; ``transforms.Vocabulary`` is one."""

    @property
    def values(self) -> tuple[str, ...]:
        """Return the items that the models know, in the order of their indices."""

    def index(self, value: str | None) -> int:
        """Return the models' index of an item."""


class ItemIndex:
    """Gives the catalogue's index of each item of a release.

    Args:
        vocabulary: the items that the models know; I items.
        added: ids of A further items; item n has index 3 + I + n.

    Raises:
        ValueError: an added item is no string, occurs twice, is in the vocabulary, or is MISSING.

    >>> class Known:
    ...     values = ("a", "b")
    ...
    ...     def index(self, value):
    ...         return {"a": 3, "b": 4}.get(value, 2)
    >>> items = ItemIndex(Known(), ["new"])
    >>> items.indices(["b", "new", "gone"]).tolist()
    [4, 5, 2]
    >>> items.of_models(np.array([4, 5])).tolist()
    [4, 2]
    """

    def __init__(self, vocabulary: ItemVocabulary, added: Sequence[str] = ()) -> None:
        self.item_ids = (*vocabulary.values, *added)
        self._index = {item: VOCABULARY_START + n for n, item in enumerate(self.item_ids)}
        if not all(isinstance(item, str) for item in added):
            raise ValueError(f"{ADDED_ITEMS} must list strings")
        if len(self._index) != len(self.item_ids) or MISSING in added:
            raise ValueError(
                f"{ADDED_ITEMS} lists {MISSING!r}, an item twice or one of the vocabulary"
            )
        self._first_added = VOCABULARY_START + len(vocabulary.values)
        self._of_added = np.array([vocabulary.index(item) for item in added], np.int32)

    def index(self, value: str | None) -> int:
        """Return the index of an item; OOV_INDEX where the release has no such item."""
        return NULL_INDEX if value is None else self._index.get(value, OOV_INDEX)

    def indices(self, values: Iterable[str | None]) -> np.ndarray:
        """Return the indices of N items, int32 [N]."""
        return np.array([self.index(value) for value in values], np.int32)

    def of_models(self, index: np.ndarray) -> np.ndarray:
        """Return what the models take for items.

        Args:
            index: int32 [N], of the catalogue.

        Returns:
            int32 [N]. An item of the vocabulary keeps its index. An added item gets OOV_INDEX, or
            the row of its hash bucket.
        """
        if not len(self._of_added):
            return index
        found, added = index.copy(), index >= self._first_added
        found[added] = self._of_added[index[added] - self._first_added]
        return found


def catalogue_items(transforms: Mapping[str, Any]) -> list[str]:
    """Return the item ids of ``transforms.json``, added ones last; item n has index 3 + n."""
    return [*transforms["vocabulary"][ITEM_ID], *transforms.get(ADDED_ITEMS, ())]
