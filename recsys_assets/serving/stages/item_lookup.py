"""Item features from memory: read from Feast's online store once at start, the release's snapshot where it has none."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.columns import (
    CATEGORY_L1,
    CATEGORY_L2,
    ITEM_CLICKS,
    ITEM_GENDER,
    ITEM_ID,
    PRICE,
    VOCABULARY_START,
)
from recsys_assets.serving.online_features import OnlineFeatures
from recsys_assets.serving.stage import Stage, StageFileCorrupt, Tensors, TensorSpec, read_json
from recsys_assets.serving.stages.catalogue import ITEM_IDS, check_indices, read_item_ids
from recsys_assets.serving.stages.tabular import ITEM_CODES, ITEM_NUMBERS, TRANSFORMS
from recsys_assets.serving.stores import StoreUnavailable
from recsys_assets.serving.transforms import Transforms
from recsys_assets.settings import Settings

LOG = logging.getLogger(__name__)

SNAPSHOT = "items.json"
FIELDS = (CATEGORY_L1, CATEGORY_L2, ITEM_GENDER, PRICE, ITEM_CLICKS)
FEATURES = (*(f"item_features:{field}" for field in FIELDS[:-1]), f"item_popularity:{ITEM_CLICKS}")
#: Items a read at start, and its limit: no visitor waits for it, so it may take longer than a request's read.
BATCH, START_TIMEOUT_MS = 500, 1_000


class FeastItemLookup(Stage):
    """Item indices → category and gender codes, price and clicks of the day before, out of one table made at start.

    Args:
        transforms: the generation's vocabularies.
        records: one mapping of FIELDS an item, in index order.
    """

    name = "feast_item_lookup"
    inputs = (TensorSpec("kept", "INT32", (-1,)),)
    outputs = (ITEM_CODES, ITEM_NUMBERS)
    files = (ITEM_IDS, SNAPSHOT, TRANSFORMS)

    def __init__(self, transforms: Transforms, records: Sequence[Mapping[str, Any]]):
        column = {field: [record[field] for record in records] for field in FIELDS}
        self._codes = transforms.item_codes(column[CATEGORY_L1], column[CATEGORY_L2], column[ITEM_GENDER])
        self._numbers = np.array([column[PRICE], column[ITEM_CLICKS]], dtype=np.float32).T.copy()

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> FeastItemLookup:
        item_ids, snapshot = read_item_ids(directory), read_json(directory / SNAPSHOT)
        incomplete = [item_id for item_id in item_ids if not set(FIELDS) <= set(snapshot.get(item_id, ()))]
        if incomplete:
            raise StageFileCorrupt(f"{directory / SNAPSHOT} lacks {len(incomplete)} items or one of their {FIELDS}, "
                                   f"first {incomplete[0]!r}; build the release again")
        online = read_online(OnlineFeatures.open(settings, START_TIMEOUT_MS), item_ids)
        return cls(Transforms.read(directory / TRANSFORMS), [{**snapshot[i], **online.get(i, {})} for i in item_ids])

    def run(self, inputs: Tensors) -> Tensors:
        kept = inputs["kept"]
        check_indices("kept", kept, len(self._numbers))
        rows = kept - VOCABULARY_START
        return {"item_codes": self._codes[rows], "item_numbers": self._numbers[rows]}


def read_online(features: OnlineFeatures, item_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the online store has of each item; where it stops answering, the rest is left to the snapshot."""
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(item_ids), BATCH):
        batch = item_ids[start : start + BATCH]
        try:
            rows = features.read(FEATURES, ITEM_ID, batch)
        except StoreUnavailable as error:
            LOG.warning("item features of %d items come from the release's snapshot: %s", len(item_ids) - start, error)
            break
        for item_id, row in zip(batch, rows, strict=True):
            if row:
                found[item_id] = {name: feature.value for name, feature in row.items()}
    return found
