"""Run the compiled NVTabular workflows, and join their outputs for the ranker."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys_assets.columns import (
    AFFINITY_CONTINUOUS,
    CANDIDATE_CONTINUOUS,
    CATEGORY_L1,
    ITEM_CATEGORICAL,
    ITEM_ID,
)
from recsys_assets.lib.features.recent_items import recent_items
from recsys_assets.lib.features.transforms import Transforms, affinity
from recsys_assets.release_files import MODEL_FILES, TRANSFORMS
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.candidates import parts, require_counts
from recsys_assets.serving.stages.stage import Stage, StageInputInvalid, Tensors, shared
from recsys_assets.settings import Settings

_CATEGORY = ITEM_CATEGORICAL.index(CATEGORY_L1)
_CLICKS = 3  # column of USER_NUMBERS: clicks_look_back


class _TransformStage(Stage):
    """A stage that runs one workflow of the transforms."""

    def __init__(self, transforms: Transforms) -> None:
        self._transforms = transforms

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> _TransformStage:
        """Read the transforms."""
        return cls(shared(directory / TRANSFORMS, Transforms.read))


class NvtUserTransform(_TransformStage):
    """Runs the user workflow, counts clicks by category, and lists the latest items."""

    name = "nvt_user_transform"
    inputs = (t.USER_RAW, t.USER_NUMBERS, t.USER_HISTORY_RAW, t.USER_ITEMS_RAW, t.USER_AGES_RAW)
    outputs = (t.USER_CAT, t.USER_CONT, t.USER_HISTORY, t.USER_ITEMS, t.USER_AGES, t.USER_CLICKED)
    files = MODEL_FILES[name]

    def run(self, inputs: Tensors) -> Tensors:
        """Return the user features and the histories."""
        cat, cont = self._transforms.users(inputs[t.USER_RAW.name], inputs[t.USER_NUMBERS.name])
        history = self._transforms.histories(
            inputs[t.USER_HISTORY_RAW.name], inputs[t.USER_NUMBERS.name]
        )
        vocabulary = self._transforms.vocabulary[ITEM_ID]
        clicked = (
            inputs[t.USER_ITEMS_RAW.name],
            inputs[t.USER_AGES_RAW.name],
            inputs[t.USER_NUMBERS.name][:, _CLICKS].astype(int).tolist(),
        )
        items, ages = recent_items(vocabulary, *clicked)
        # an added item has other indices for the models than for the sources; so has a hash bucket
        differ = self._transforms.added_items or vocabulary.buckets
        of_catalogue = recent_items(self._transforms.item_index, *clicked)[0] if differ else items
        return {
            t.USER_CAT.name: cat,
            t.USER_CONT.name: cont,
            t.USER_HISTORY.name: history,
            t.USER_ITEMS.name: items,
            t.USER_AGES.name: ages,
            t.USER_CLICKED.name: of_catalogue,
        }


class NvtContextTransform(_TransformStage):
    """Runs the context workflow."""

    name = "nvt_context_transform"
    inputs = (t.CONTEXT_DEVICE, t.CONTEXT_TIMESTAMP)
    outputs = (t.CONTEXT_CAT, t.CONTEXT_CONT)
    files = MODEL_FILES[name]

    def run(self, inputs: Tensors) -> Tensors:
        """Return the context features."""
        cat, cont = self._transforms.context(
            inputs[t.CONTEXT_DEVICE.name], inputs[t.CONTEXT_TIMESTAMP.name]
        )
        return {t.CONTEXT_CAT.name: cat, t.CONTEXT_CONT.name: cont}


class NvtItemTransform(_TransformStage):
    """Runs the item workflow for all candidates."""

    name = "nvt_item_transform"
    inputs = (t.KEPT, t.ITEM_CODES, t.ITEM_NUMBERS)
    outputs = (t.ITEM_CAT, t.ITEM_CONT)
    files = MODEL_FILES[name]

    def run(self, inputs: Tensors) -> Tensors:
        """Return the item features."""
        cat, cont = self._transforms.items(
            inputs[t.KEPT.name], inputs[t.ITEM_CODES.name], inputs[t.ITEM_NUMBERS.name]
        )
        return {t.ITEM_CAT.name: cat, t.ITEM_CONT.name: cont}


class UnrollFeatures(Stage):
    """Joins the ranker's inputs.

    Visitor and context features lie side by side. Each candidate's numbers are extended by the
    visitor's affinities to its category. What is the same for all candidates of a visitor is not
    repeated: the ranker takes it once.
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
        """Return the stage, which has no files."""
        return cls()

    def run(self, inputs: Tensors) -> Tensors:
        """Return the features of visitors and of candidates."""
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
        """Return the affinities of a visitor to the categories of items.

        They are computed per category, because categories are fewer than candidates.

        Args:
            history: [2·K], clicks per category of the look-back, then of 24 hours.
            categories: [N], category_l1 indices.

        Returns:
            float32 [N, 4].
        """
        width = len(history) // 2
        if len(history) != 2 * width or (
            len(categories) and not 0 <= categories.min() <= categories.max() < width
        ):
            raise StageInputInvalid(
                "user_history must count clicks by every category_l1 index twice, got "
                f"{len(history)} counts for an item of category {categories.max(initial=0)}; the "
                "user and item transforms must be of one generation"
            )
        long, day = history[:width], history[width:]
        found: np.ndarray = affinity(long, day, long.sum(), day.sum())[categories]
        return found
