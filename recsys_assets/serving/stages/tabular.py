"""The compiled NVTabular workflows as stages, and the join of their outputs into the ranker's inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_assets.columns import (
    AFFINITY_CONTINUOUS,
    CANDIDATE_CONTINUOUS,
    CATEGORY_L1,
    CONTEXT_CATEGORICAL,
    CONTEXT_CONTINUOUS,
    ITEM_CATEGORICAL,
    ITEM_CONTINUOUS,
    ITEM_POPULARITY,
    USER_CATEGORICAL,
    USER_CONTINUOUS,
)
from recsys_assets.serving.stage import Stage, StageInputInvalid, Tensors, TensorSpec, shared
from recsys_assets.serving.stages.candidates import (
    CANDIDATE_CONT,
    KEPT,
    KEPT_COUNTS,
    VISITOR_CAT,
    VISITOR_CONT,
    parts,
    require_counts,
)
from recsys_assets.serving.stages.context import CONTEXT_DEVICE, CONTEXT_TIMESTAMP
from recsys_assets.serving.transforms import Transforms, affinity
from recsys_assets.settings import Settings

TRANSFORMS = "transforms.json"

USER_CAT = TensorSpec("user_cat", "INT32", (-1, len(USER_CATEGORICAL)))
USER_CONT = TensorSpec("user_cont", "FP32", (-1, len(USER_CONTINUOUS)))
CONTEXT_CAT = TensorSpec("context_cat", "INT32", (-1, len(CONTEXT_CATEGORICAL)))
CONTEXT_CONT = TensorSpec("context_cont", "FP32", (-1, len(CONTEXT_CONTINUOUS)))
ITEM_CAT = TensorSpec("item_cat", "INT32", (-1, len(ITEM_CATEGORICAL)))
ITEM_CONT = TensorSpec("item_cont", "FP32", (-1, len((*ITEM_CONTINUOUS, ITEM_POPULARITY))))
#: Raw features: user_id, gender, top_category and age, clicks_24h, hours_since_click, clicks_7d; an item's price and
#: item_clicks.
USER_RAW, USER_NUMBERS = TensorSpec("user_raw", "STRING", (-1, 3)), TensorSpec("user_numbers", "FP32", (-1, 4))
#: The categories of visitors' clicks, one visitor's after the other's (clicks_7d says how many), oldest first; and how
#: often each index is among a visitor's: [B, 2·K], of seven days and then of 24 hours.
USER_HISTORY_RAW, USER_HISTORY = TensorSpec("user_history_raw", "STRING", (-1,)), TensorSpec("user_history", "FP32", (-1, -1))
ITEM_CODES, ITEM_NUMBERS = TensorSpec("item_codes", "INT32", (-1, 3)), TensorSpec("item_numbers", "FP32", (-1, 2))
_CATEGORY = ITEM_CATEGORICAL.index(CATEGORY_L1)


class _TransformStage(Stage):
    files = (TRANSFORMS,)

    def __init__(self, transforms: Transforms):
        self._transforms = transforms

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> _TransformStage:
        return cls(shared(directory / TRANSFORMS, Transforms.read))


class NvtUserTransform(_TransformStage):
    """The user workflow, and the visitors' clicks counted by category."""

    name = "nvt_user_transform"
    inputs = (USER_RAW, USER_NUMBERS, USER_HISTORY_RAW)
    outputs = (USER_CAT, USER_CONT, USER_HISTORY)

    def run(self, inputs: Tensors) -> Tensors:
        cat, cont = self._transforms.users(inputs["user_raw"], inputs["user_numbers"])
        history = self._transforms.histories(inputs["user_history_raw"], inputs["user_numbers"])
        return {"user_cat": cat, "user_cont": cont, "user_history": history}


class NvtContextTransform(_TransformStage):
    """The context workflow."""

    name = "nvt_context_transform"
    inputs = (CONTEXT_DEVICE, CONTEXT_TIMESTAMP)
    outputs = (CONTEXT_CAT, CONTEXT_CONT)

    def run(self, inputs: Tensors) -> Tensors:
        cat, cont = self._transforms.context(inputs["context_device"], inputs["context_timestamp"])
        return {"context_cat": cat, "context_cont": cont}


class NvtItemTransform(_TransformStage):
    """The item workflow, for all candidates."""

    name = "nvt_item_transform"
    inputs = (KEPT, ITEM_CODES, ITEM_NUMBERS)
    outputs = (ITEM_CAT, ITEM_CONT)

    def run(self, inputs: Tensors) -> Tensors:
        cat, cont = self._transforms.items(inputs["kept"], inputs["item_codes"], inputs["item_numbers"])
        return {"item_cat": cat, "item_cont": cont}


class UnrollFeatures(Stage):
    """The ranker's inputs: visitor and context side by side, and each candidate's numbers, to which the visitor's affinities to its
    category come. What is the same for all of a visitor's candidates is not repeated: the ranker takes it once."""

    name = "unroll_features"
    inputs = (USER_CAT, USER_CONT, USER_HISTORY, CONTEXT_CAT, CONTEXT_CONT, ITEM_CAT, ITEM_CONT, KEPT_COUNTS)
    outputs = (VISITOR_CAT, VISITOR_CONT, CANDIDATE_CONT)

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> UnrollFeatures:
        return cls()

    def run(self, inputs: Tensors) -> Tensors:
        counts, categories, history = inputs["kept_counts"], inputs["item_cat"][:, _CATEGORY], inputs["user_history"]
        require_counts("kept_counts", counts, len(categories), len(history))
        numbers, near = np.empty((len(categories), len(CANDIDATE_CONTINUOUS)), np.float32), -len(AFFINITY_CONTINUOUS)
        numbers[:, :near] = inputs["item_cont"]
        for row, part in enumerate(parts(counts)):
            numbers[part, near:] = self._affinity(history[row], categories[part])
        return {"visitor_cat": np.concatenate([inputs["user_cat"], inputs["context_cat"]], axis=1),
                "visitor_cont": np.concatenate([inputs["user_cont"], inputs["context_cont"]], axis=1), "candidate_cont": numbers}

    @staticmethod
    def _affinity(history: np.ndarray, categories: np.ndarray) -> np.ndarray:
        """[2·K] and category_l1 indices [N] → float32 [N, 4]; made once a category, which are fewer than candidates."""
        width = len(history) // 2
        if len(history) != 2 * width or (len(categories) and not 0 <= categories.min() <= categories.max() < width):
            raise StageInputInvalid(f"user_history must count clicks by every category_l1 index twice, got "
                                    f"{len(history)} counts for an item of category {categories.max(initial=0)}; the "
                                    "user and item transforms must be of one generation")
        week, day = history[:width], history[width:]
        return affinity(week, day, week.sum(), day.sum())[categories]
