"""Turn the ranked indices into the answer that a client gets.

It holds the catalogue's own ids, the versions of the models and the parts that failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsys_assets.release_files import MODEL_FILES
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.answer import (
    ANSWER,
    COUNT,
    DEGRADED,
    QUERY_RELEASE,
    RANKER_RELEASE,
)
from recsys_assets.serving.stages.candidates import require_counts
from recsys_assets.serving.stages.catalogue import read_item_ids, rows_of
from recsys_assets.serving.stages.stage import Stage, StageInputInvalid, Tensors
from recsys_assets.settings import Settings


class ItemIdDecoder(Stage):
    """Turns Categorify item indices into ids; refuses an index that is no item's.

    Args:
        item_ids: of the catalogue, in index order.
    """

    name = "item_id_decoder"
    inputs = (
        t.SAMPLED_ITEMS,
        t.SAMPLED_SCORES,
        t.SAMPLED_PROPENSITIES,
        t.SAMPLED_COUNTS,
        t.QUERY_RELEASE,
        t.RANKER_RELEASE,
        t.USER_DEGRADED,
        t.FILTER_DEGRADED,
    )
    outputs = ANSWER
    files = MODEL_FILES[name]

    def __init__(self, item_ids: Sequence[str]) -> None:
        self._item_ids = np.array(item_ids, dtype=np.object_)

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> ItemIdDecoder:
        """Read the item ids."""
        return cls(read_item_ids(directory))

    def run(self, inputs: Tensors) -> Tensors:
        """Return the ids, scores and propensities, and the figures of each visitor."""
        items, counts = inputs[t.SAMPLED_ITEMS.name], inputs[t.SAMPLED_COUNTS.name]
        require_counts(t.SAMPLED_COUNTS.name, counts, len(items))
        for spec in (t.SAMPLED_SCORES, t.SAMPLED_PROPENSITIES):
            if len(inputs[spec.name]) != len(items):
                raise StageInputInvalid(
                    f"{spec.name} must be as many as sampled_items, got "
                    f"{len(inputs[spec.name])} and {len(items)}"
                )
        rows = rows_of(t.SAMPLED_ITEMS.name, items, len(self._item_ids))
        info = np.empty((len(counts), t.ANSWER_INFO.shape[1]), np.int64)
        info[:, COUNT] = counts
        info[:, QUERY_RELEASE], info[:, RANKER_RELEASE] = (
            inputs[t.QUERY_RELEASE.name],
            inputs[t.RANKER_RELEASE.name],
        )
        info[:, DEGRADED] = inputs[t.USER_DEGRADED.name] | inputs[t.FILTER_DEGRADED.name]
        return {
            t.ORDERED_IDS.name: self._item_ids.take(rows),
            t.ORDERED_SCORES.name: inputs[t.SAMPLED_SCORES.name],
            t.ORDERED_PROPENSITIES.name: inputs[t.SAMPLED_PROPENSITIES.name],
            t.ANSWER_INFO.name: info,
        }
