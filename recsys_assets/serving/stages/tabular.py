"""The compiled NVTabular workflows as stages, and the join of their outputs into the ranker's inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_assets.columns import (
    CATEGORY_L1,
    CONTEXT_CATEGORICAL,
    CONTEXT_CONTINUOUS,
    ITEM_CATEGORICAL,
    ITEM_CONTINUOUS,
    ITEM_POPULARITY,
    RANKER_CATEGORICAL,
    RANKER_CONTINUOUS,
    USER_CATEGORICAL,
    USER_CONTINUOUS,
)
from recsys_assets.serving.stage import Stage, StageInputInvalid, Tensors, TensorSpec
from recsys_assets.serving.transforms import Transforms, affinity
from recsys_assets.settings import Settings

TRANSFORMS = "transforms.json"

USER_CAT = TensorSpec("user_cat", "INT32", (len(USER_CATEGORICAL),))
USER_CONT = TensorSpec("user_cont", "FP32", (len(USER_CONTINUOUS),))
CONTEXT_CAT = TensorSpec("context_cat", "INT32", (len(CONTEXT_CATEGORICAL),))
CONTEXT_CONT = TensorSpec("context_cont", "FP32", (len(CONTEXT_CONTINUOUS),))
ITEM_CAT = TensorSpec("item_cat", "INT32", (-1, len(ITEM_CATEGORICAL)))
ITEM_CONT = TensorSpec("item_cont", "FP32", (-1, len((*ITEM_CONTINUOUS, ITEM_POPULARITY))))
#: Raw features: user_id, gender, top_category and age, clicks_24h, hours_since_click, clicks_7d; an item's price and
#: item_clicks.
USER_RAW, USER_NUMBERS = TensorSpec("user_raw", "STRING", (3,)), TensorSpec("user_numbers", "FP32", (4,))
#: The categories of a visitor's clicks, oldest first, and how often each index is among them: [2·K], of seven days and
#: then of 24 hours.
USER_HISTORY_RAW, USER_HISTORY = TensorSpec("user_history_raw", "STRING", (-1,)), TensorSpec("user_history", "FP32", (-1,))
ITEM_CODES, ITEM_NUMBERS = TensorSpec("item_codes", "INT32", (-1, 3)), TensorSpec("item_numbers", "FP32", (-1, 2))


class _TransformStage(Stage):
    files = (TRANSFORMS,)

    def __init__(self, transforms: Transforms):
        self._transforms = transforms

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> _TransformStage:
        return cls(Transforms.read(directory / TRANSFORMS))


class NvtUserTransform(_TransformStage):
    """The user workflow, and the visitor's clicks counted by category."""

    name = "nvt_user_transform"
    inputs = (USER_RAW, USER_NUMBERS, USER_HISTORY_RAW)
    outputs = (USER_CAT, USER_CONT, USER_HISTORY)

    def run(self, inputs: Tensors) -> Tensors:
        cat, cont = self._transforms.user(inputs["user_raw"], inputs["user_numbers"])
        history = self._transforms.history(inputs["user_history_raw"], inputs["user_numbers"])
        return {"user_cat": cat, "user_cont": cont, "user_history": history}


class NvtContextTransform(_TransformStage):
    """The context workflow."""

    name = "nvt_context_transform"
    inputs = (TensorSpec("context_device", "STRING", (1,)), TensorSpec("context_timestamp", "INT64", (1,)))
    outputs = (CONTEXT_CAT, CONTEXT_CONT)

    def run(self, inputs: Tensors) -> Tensors:
        cat, cont = self._transforms.context(inputs["context_device"][0], inputs["context_timestamp"])
        return {"context_cat": cat, "context_cont": cont}


class NvtItemTransform(_TransformStage):
    """The item workflow, for N candidates."""

    name = "nvt_item_transform"
    inputs = (TensorSpec("kept", "INT32", (-1,)), ITEM_CODES, ITEM_NUMBERS)
    outputs = (ITEM_CAT, ITEM_CONT)

    def run(self, inputs: Tensors) -> Tensors:
        cat, cont = self._transforms.items(inputs["kept"], inputs["item_codes"], inputs["item_numbers"])
        return {"item_cat": cat, "item_cont": cont}


class UnrollFeatures(Stage):
    """Repeats user and context features to the N candidates, in the order of RANKER_CATEGORICAL and _CONTINUOUS.

    Last come the visitor's affinities to each candidate's category.
    """

    name = "unroll_features"
    inputs = (USER_CAT, USER_CONT, USER_HISTORY, CONTEXT_CAT, CONTEXT_CONT, ITEM_CAT, ITEM_CONT)
    outputs = (TensorSpec("ranker_cat", "INT32", (-1, len(RANKER_CATEGORICAL))),
               TensorSpec("ranker_cont", "FP32", (-1, len(RANKER_CONTINUOUS))))

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> UnrollFeatures:
        return cls()

    def run(self, inputs: Tensors) -> Tensors:
        categories = inputs["item_cat"][:, ITEM_CATEGORICAL.index(CATEGORY_L1)]
        numbers = np.concatenate([inputs["item_cont"], self._affinity(inputs["user_history"], categories)], axis=1)
        return {"ranker_cat": self._join(inputs["user_cat"], inputs["context_cat"], inputs["item_cat"]),
                "ranker_cont": self._join(inputs["user_cont"], inputs["context_cont"], numbers)}

    @staticmethod
    def _affinity(history: np.ndarray, categories: np.ndarray) -> np.ndarray:
        """[2·K] and category_l1 indices [N] → float32 [N, 4]."""
        width = len(history) // 2
        if len(history) != 2 * width or (len(categories) and not 0 <= categories.min() <= categories.max() < width):
            raise StageInputInvalid(f"user_history must count clicks by every category_l1 index twice, got "
                                    f"{len(history)} counts for an item of category {categories.max(initial=0)}; the "
                                    "user and item transforms must be of one generation")
        halves = history.reshape(2, width)
        totals = [np.full(len(categories), half.sum()) for half in halves]
        return affinity(*halves[:, categories], *totals)

    @staticmethod
    def _join(user: np.ndarray, context: np.ndarray, items: np.ndarray) -> np.ndarray:
        """[U], [C], [N, I] → [N, U + C + I]."""
        shared = np.concatenate([user, context])
        return np.concatenate([np.broadcast_to(shared, (len(items), len(shared))), items], axis=1)
