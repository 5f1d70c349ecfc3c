"""The compiled NVTabular workflows as stages, and the join of their outputs into the ranker's
inputs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_assets.columns import (
    AFFINITY_CONTINUOUS,
    CANDIDATE_CONTINUOUS,
    CATEGORY_L1,
    ITEM_CATEGORICAL,
)
from recsys_assets.lib.features.transforms import Transforms, affinity
from recsys_assets.release_files import MODEL_FILES, TRANSFORMS
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.candidates import parts, require_counts
from recsys_assets.serving.stages.stage import Stage, StageInputInvalid, Tensors, shared
from recsys_assets.settings import Settings

_CATEGORY = ITEM_CATEGORICAL.index(CATEGORY_L1)


class _TransformStage(Stage):
    def __init__(self, transforms: Transforms) -> None:
        self._transforms = transforms

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> _TransformStage:
        return cls(shared(directory / TRANSFORMS, Transforms.read))


class NvtUserTransform(_TransformStage):
    """The user workflow, and the visitors' clicks counted by category."""

    name = "nvt_user_transform"
    inputs = (t.USER_RAW, t.USER_NUMBERS, t.USER_HISTORY_RAW)
    outputs = (t.USER_CAT, t.USER_CONT, t.USER_HISTORY)
    files = MODEL_FILES[name]

    def run(self, inputs: Tensors) -> Tensors:
        cat, cont = self._transforms.users(inputs[t.USER_RAW.name], inputs[t.USER_NUMBERS.name])
        history = self._transforms.histories(
            inputs[t.USER_HISTORY_RAW.name], inputs[t.USER_NUMBERS.name]
        )
        return {t.USER_CAT.name: cat, t.USER_CONT.name: cont, t.USER_HISTORY.name: history}


class NvtContextTransform(_TransformStage):
    """The context workflow."""

    name = "nvt_context_transform"
    inputs = (t.CONTEXT_DEVICE, t.CONTEXT_TIMESTAMP)
    outputs = (t.CONTEXT_CAT, t.CONTEXT_CONT)
    files = MODEL_FILES[name]

    def run(self, inputs: Tensors) -> Tensors:
        cat, cont = self._transforms.context(
            inputs[t.CONTEXT_DEVICE.name], inputs[t.CONTEXT_TIMESTAMP.name]
        )
        return {t.CONTEXT_CAT.name: cat, t.CONTEXT_CONT.name: cont}


class NvtItemTransform(_TransformStage):
    """The item workflow, for all candidates."""

    name = "nvt_item_transform"
    inputs = (t.KEPT, t.ITEM_CODES, t.ITEM_NUMBERS)
    outputs = (t.ITEM_CAT, t.ITEM_CONT)
    files = MODEL_FILES[name]

    def run(self, inputs: Tensors) -> Tensors:
        cat, cont = self._transforms.items(
            inputs[t.KEPT.name], inputs[t.ITEM_CODES.name], inputs[t.ITEM_NUMBERS.name]
        )
        return {t.ITEM_CAT.name: cat, t.ITEM_CONT.name: cont}


class UnrollFeatures(Stage):
    """The ranker's inputs: visitor and context side by side, and each candidate's numbers, to which
    the visitor's affinities to its category come. What is the same for all of a visitor's
    candidates is not repeated: the ranker takes it once.
    """

    name = "unroll_features"
    inputs = (
        t.USER_CAT,
        t.USER_CONT,
        t.USER_HISTORY,
        t.CONTEXT_CAT,
        t.CONTEXT_CONT,
        t.ITEM_CAT,
        t.ITEM_CONT,
        t.KEPT_COUNTS,
    )
    outputs = (t.VISITOR_CAT, t.VISITOR_CONT, t.CANDIDATE_CONT)

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> UnrollFeatures:
        return cls()

    def run(self, inputs: Tensors) -> Tensors:
        counts, categories, history = (
            inputs[t.KEPT_COUNTS.name],
            inputs[t.ITEM_CAT.name][:, _CATEGORY],
            inputs[t.USER_HISTORY.name],
        )
        require_counts(t.KEPT_COUNTS.name, counts, len(categories), len(history))
        numbers, near = (
            np.empty((len(categories), len(CANDIDATE_CONTINUOUS)), np.float32),
            -len(AFFINITY_CONTINUOUS),
        )
        numbers[:, :near] = inputs[t.ITEM_CONT.name]
        for row, part in enumerate(parts(counts)):
            numbers[part, near:] = self._affinity(history[row], categories[part])
        return {
            t.VISITOR_CAT.name: np.concatenate(
                [inputs[t.USER_CAT.name], inputs[t.CONTEXT_CAT.name]], axis=1
            ),
            t.VISITOR_CONT.name: np.concatenate(
                [inputs[t.USER_CONT.name], inputs[t.CONTEXT_CONT.name]], axis=1
            ),
            t.CANDIDATE_CONT.name: numbers,
        }

    @staticmethod
    def _affinity(history: np.ndarray, categories: np.ndarray) -> np.ndarray:
        """[2·K] and category_l1 indices [N] → float32 [N, 4]; made once a category, which are fewer
        than candidates.
        """
        width = len(history) // 2
        if len(history) != 2 * width or (
            len(categories) and not 0 <= categories.min() <= categories.max() < width
        ):
            raise StageInputInvalid(
                f"user_history must count clicks by every category_l1 index twice, got "
                f"{len(history)} counts for an item of category {categories.max(initial=0)}; the "
                "user and item transforms must be of one generation"
            )
        week, day = history[:width], history[width:]
        return affinity(week, day, week.sum(), day.sum())[categories]
