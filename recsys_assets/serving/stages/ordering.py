"""The final list: highest blended scores first, or a weighted sample of them, and back to the catalogue's own ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsys_assets.columns import VOCABULARY_START
from recsys_assets.serving.stage import Stage, StageFileCorrupt, StageInputInvalid, Tensors, TensorSpec, read_json
from recsys_assets.serving.stages.catalogue import ITEM_IDS, check_indices, read_item_ids
from recsys_assets.settings import Settings

SAMPLING = "sampling.json"
LEAST_PROBABILITY = 1e-7  # keeps the logit of a saturated score finite


def blend(scores: np.ndarray, similarity: np.ndarray, weight: float, nearest: np.ndarray | None = None) -> np.ndarray:
    """The ranker's probabilities, lowered by how much less than the nearest item retrieval found each one.

    Args:
        scores: [N], click probabilities. similarity: [N], inner products with the query embedding.
        weight: w ≥ 0, retrieval's part; 0 is the ranker alone.
        nearest: [N] largest similarity of each one's list, where there are several lists; default: all are one.

    Returns:
        float64 [N]: sigmoid(logit(score) + w · (similarity − largest similarity)); with w = 0 the scores themselves.
        The nearest item keeps its probability, all others get less than theirs.
    """
    scores = scores.astype(np.float64)
    if weight == 0 or len(scores) == 0:
        return scores
    clipped = np.clip(scores, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    near = similarity.astype(np.float64)
    nearest = near.max() if nearest is None else nearest.astype(np.float64)
    with np.errstate(over="ignore"):  # too far away for a float64: 0
        return 1 / (1 + (1 - clipped) / clipped * np.exp(weight * (nearest - near)))


def highest_first(scores: np.ndarray, topk: int) -> np.ndarray:
    """Positions of the topk highest scores, int64; equal scores keep retrieval's order."""
    return np.argsort(-scores, kind="stable")[:topk]


def gumbel_top_k(scores: np.ndarray, topk: int, temperature: float, generator: np.random.Generator) -> np.ndarray:
    """Positions of a sample without replacement with weights exp(temperature · score), in the order of the draws.

    The Gumbel top-k trick: Kool, van Hoof and Welling, "Stochastic beams and where to find them", 2019.
    """
    return highest_first(temperature * scores.astype(np.float64) + generator.gumbel(size=len(scores)), topk)


class SoftmaxSampling(Stage):
    """Orders N scored candidates by ``blend`` and keeps RANKING_TOPK of them."""

    name = "softmax_sampling"
    inputs = (TensorSpec("kept", "INT32", (-1,)), TensorSpec("scores", "FP32", (-1,)),
              TensorSpec("kept_similarity", "FP32", (-1,)))
    outputs = (TensorSpec("ordered_items", "INT32", (-1,)), TensorSpec("ordered_scores", "FP32", (-1,)))
    files = (SAMPLING,)

    def __init__(self, topk: int, diversity_mode: bool, temperature: float, retrieval_weight: float,
                 generator: np.random.Generator | None = None):
        self._topk, self._diversity_mode, self._temperature = topk, diversity_mode, temperature
        self._weight = retrieval_weight
        self._generator = generator or np.random.default_rng()

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> SoftmaxSampling:
        given = read_json(directory / SAMPLING)
        try:
            topk, diverse, temperature = given["ranking_topk"], given["diversity_mode"], given["temperature"]
            weight = given["retrieval_weight"]
        except KeyError as error:
            raise StageFileCorrupt(f"{directory / SAMPLING} has no {error}; build the release again") from error
        if not (isinstance(topk, int) and topk >= 1 and isinstance(diverse, bool) and temperature > 0
                and isinstance(weight, (int, float)) and 0 <= weight < np.inf):
            raise StageFileCorrupt(f"{directory / SAMPLING} needs ranking_topk ≥ 1, a boolean diversity_mode, "
                                   f"temperature > 0 and a finite retrieval_weight ≥ 0, got {given}")
        return cls(topk, diverse, float(temperature), float(weight))

    def run(self, inputs: Tensors) -> Tensors:
        kept = inputs["kept"]
        for name in ("scores", "kept_similarity"):
            if len(inputs[name]) != len(kept):
                raise StageInputInvalid(f"{name} must be as many as kept, got {len(inputs[name])} and {len(kept)}")
        blended = blend(inputs["scores"], inputs["kept_similarity"], self._weight)
        order = (gumbel_top_k(blended, self._topk, self._temperature, self._generator) if self._diversity_mode
                 else highest_first(blended, self._topk))
        return {"ordered_items": kept[order], "ordered_scores": blended[order].astype(np.float32)}


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
