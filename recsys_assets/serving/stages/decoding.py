"""The answer as a client gets it: the catalogue's own ids, and by which models and with what at hand it was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsys_assets.serving.answer import ANSWER
from recsys_assets.serving.stage import Stage, StageInputInvalid, Tensors, TensorSpec
from recsys_assets.serving.stages.candidates import require_counts
from recsys_assets.serving.stages.catalogue import ITEM_IDS, read_item_ids, rows_of
from recsys_assets.serving.stages.ordering import SAMPLED
from recsys_assets.settings import Settings


class ItemIdDecoder(Stage):
    """Categorify item indices → the catalogue's ids; refuses an index that is no item's."""

    name = "item_id_decoder"
    inputs = (*SAMPLED, TensorSpec("query_release", "INT64", (1,)), TensorSpec("ranker_release", "INT64", (1,)),
              TensorSpec("user_degraded", "INT32", (-1,)), TensorSpec("filter_degraded", "INT32", (-1,)))
    outputs = ANSWER
    files = (ITEM_IDS,)

    def __init__(self, item_ids: Sequence[str]):
        self._item_ids = np.array(item_ids, dtype=np.object_)

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> ItemIdDecoder:
        return cls(read_item_ids(directory))

    def run(self, inputs: Tensors) -> Tensors:
        items, counts = inputs["sampled_items"], inputs["sampled_counts"]
        require_counts("sampled_counts", counts, len(items))
        if len(inputs["sampled_scores"]) != len(items):
            raise StageInputInvalid(f"sampled_scores must be as many as sampled_items, got {len(inputs['sampled_scores'])} and "
                                    f"{len(items)}")
        rows = rows_of("sampled_items", items, len(self._item_ids))
        info = np.empty((len(counts), 4), np.int64)
        info[:, 0] = counts
        info[:, 1], info[:, 2] = inputs["query_release"], inputs["ranker_release"]
        info[:, 3] = inputs["user_degraded"] | inputs["filter_degraded"]
        return {"ordered_ids": self._item_ids.take(rows), "ordered_scores": inputs["sampled_scores"],
                "answer_info": info}
