"""The catalogue of a generation as the stages know it: item i of ``item_ids.json`` has Categorify
index 3 + i.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_assets.columns import VOCABULARY_START
from recsys_assets.files import FileCorrupt, read_json
from recsys_assets.release_files import ITEM_IDS_FILE
from recsys_assets.serving.stages.stage import StageError, shared


class UnknownItemIndex(StageError):
    """An item index outside the catalogue; the message names it and the range."""


class _ItemIds(list):
    """A list that can be shared: plain ones take no weak references."""


def read_item_ids(directory: Path) -> list[str]:
    """The catalogue's ids in index order; raises FileCorrupt unless they are distinct strings."""
    return shared(directory / ITEM_IDS_FILE, _read_item_ids)


def _read_item_ids(path: Path) -> _ItemIds:
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
    """The catalogue's rows, int32 [N], of indices int32 [N].

    Raises:
        UnknownItemIndex: naming the tensor, where an index belongs to no item of a catalogue of
            that many.
    """
    rows = indices - VOCABULARY_START
    # as unsigned numbers those below 0 are the largest: one look finds what lies outside on either
    # side
    if len(rows) and np.maximum.reduce(rows.view(np.uint32)) >= items:
        outside = (indices < VOCABULARY_START) | (indices >= VOCABULARY_START + items)
        raise UnknownItemIndex(
            f"{name} holds {int(indices[outside][0])}; items have {VOCABULARY_START} to "
            f"{VOCABULARY_START + items - 1}"
        )
    return rows
