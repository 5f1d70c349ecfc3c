"""The final list: highest scores first, or a weighted sample of them, and back to the catalogue's own ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsys_assets.columns import VOCABULARY_START
from recsys_assets.serving.stage import Stage, StageFileCorrupt, StageInputInvalid, Tensors, TensorSpec, read_json
from recsys_assets.serving.stages.catalogue import ITEM_IDS, check_indices, read_item_ids
from recsys_assets.settings import Settings

SAMPLING = "sampling.json"


def highest_first(scores: np.ndarray, topk: int) -> np.ndarray:
    """Positions of the topk highest scores, int64; equal scores keep retrieval's order."""
    return np.argsort(-scores, kind="stable")[:topk]


def gumbel_top_k(scores: np.ndarray, topk: int, temperature: float, generator: np.random.Generator) -> np.ndarray:
    """Positions of a sample without replacement with weights exp(temperature · score), in the order of the draws.

    The Gumbel top-k trick: Kool, van Hoof and Welling, "Stochastic beams and where to find them", 2019.
    """
    return highest_first(temperature * scores.astype(np.float64) + generator.gumbel(size=len(scores)), topk)


class SoftmaxSampling(Stage):
    """Orders N scored candidates and keeps RANKING_TOPK of them."""

    name = "softmax_sampling"
    inputs = (TensorSpec("kept", "INT32", (-1,)), TensorSpec("scores", "FP32", (-1,)))
    outputs = (TensorSpec("ordered_items", "INT32", (-1,)), TensorSpec("ordered_scores", "FP32", (-1,)))
    files = (SAMPLING,)

    def __init__(self, topk: int, diversity_mode: bool, temperature: float,
                 generator: np.random.Generator | None = None):
        self._topk, self._diversity_mode, self._temperature = topk, diversity_mode, temperature
        self._generator = generator or np.random.default_rng()

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> SoftmaxSampling:
        given = read_json(directory / SAMPLING)
        try:
            topk, diverse, temperature = given["ranking_topk"], given["diversity_mode"], given["temperature"]
        except KeyError as error:
            raise StageFileCorrupt(f"{directory / SAMPLING} has no {error}; build the release again") from error
        if not (isinstance(topk, int) and topk >= 1 and isinstance(diverse, bool) and temperature > 0):
            raise StageFileCorrupt(f"{directory / SAMPLING} needs ranking_topk ≥ 1, a boolean diversity_mode and "
                                   f"temperature > 0, got {given}")
        return cls(topk, diverse, float(temperature))

    def run(self, inputs: Tensors) -> Tensors:
        kept, scores = inputs["kept"], inputs["scores"]
        if len(kept) != len(scores):
            raise StageInputInvalid(f"scores must be as many as kept, got {len(scores)} and {len(kept)}")
        order = (gumbel_top_k(scores, self._topk, self._temperature, self._generator) if self._diversity_mode
                 else highest_first(scores, self._topk))
        return {"ordered_items": kept[order], "ordered_scores": scores[order]}


class ItemIdDecoder(Stage):
    """Categorify item indices → the catalogue's ids; refuses an index that is no item's."""

    name = "item_id_decoder"
    inputs = (TensorSpec("ordered_items", "INT32", (-1,)),)
    outputs = (TensorSpec("ordered_ids", "STRING", (-1,)),)
    files = (ITEM_IDS,)

    def __init__(self, item_ids: Sequence[str]):
        self._item_ids = np.array(item_ids, dtype=np.object_)

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> ItemIdDecoder:
        return cls(read_item_ids(directory))

    def run(self, inputs: Tensors) -> Tensors:
        check_indices("ordered_items", inputs["ordered_items"], len(self._item_ids))
        return {"ordered_ids": self._item_ids[inputs["ordered_items"] - VOCABULARY_START]}
