"""Read the item ids of a generation and check item indices.

Item i of ``item_ids.json`` has Categorify index 3 + i.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_assets.columns import VOCABULARY_START
from recsys_assets.files import FileCorrupt, read_json
from recsys_assets.release_files import ITEM_IDS_FILE
from recsys_assets.serving.stages.stage import StageError, shared


class UnknownItemIndex(StageError):
    """An item index is outside the catalogue; the message names it and the range."""


class _ItemIds(list[str]):
    """A list that can be shared; plain lists take no weak references."""


def read_item_ids(directory: Path) -> list[str]:
    """Return the catalogue's ids in index order.

    Raises:
        FileCorrupt: they are not distinct strings.
    """
    return shared(directory / ITEM_IDS_FILE, _read_item_ids)


def _read_item_ids(path: Path) -> _ItemIds:
    """Read the ids from a file."""
    item_ids = read_json(path)
    if (
        not isinstance(item_ids, list)
        or not item_ids
        or not all(isinstance(item_id, str) for item_id in item_ids)
        or len(set(item_ids)) != len(item_ids)
    ):
        raise FileCorrupt(f"{path} must be a list of distinct strings; build the release again")
    return _ItemIds(item_ids)


def rows_of(name: str, indices: np.ndarray, items: int) -> np.ndarray:
    """Return the catalogue rows, int32 [N], of item indices, int32 [N].

    Args:
        name: of the tensor, for the message.
        indices: Categorify indices.
        items: number of items of the catalogue.

    Raises:
        UnknownItemIndex: an index belongs to no item; the message names the tensor.
    """
    rows = indices - VOCABULARY_START
    # as unsigned numbers, negative ones are the largest: one comparison finds both kinds outside
    if len(rows) and np.maximum.reduce(rows.view(np.uint32)) >= items:
        outside = (indices < VOCABULARY_START) | (indices >= VOCABULARY_START + items)
        raise UnknownItemIndex(
            f"{name} holds {int(indices[outside][0])}; items have {VOCABULARY_START} to "
            f"{VOCABULARY_START + items - 1}"
        )
    return rows
