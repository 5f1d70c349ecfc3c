"""Score shown ads: the compiled workflow, then the network as ONNX on onnxruntime.

N ads are scored at once. Imports no polars, because Triton's stub has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsys_assets.lib.ads_ctr.ads_transforms import AdsTransforms
from recsys_assets.lib.exports.session import open_session
from recsys_assets.release_files import ADS_DCN, ADS_TRANSFORM, ADS_TRANSFORMS, MODEL
from recsys_assets.serving.stages.ads_tensors import (
    CAT,
    CATEGORY_VALUES,
    CONT,
    COUNTS,
    RELEASE,
    SCORE,
)
from recsys_assets.serving.stages.onnx_models import ModelOutputInvalid
from recsys_assets.serving.stages.stage import Stage, StageInputInvalid, Tensors
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    import onnxruntime


class AdsNvtTransform(Stage):
    """Turns raw fields into indices and normalised counts."""

    name = ADS_TRANSFORM
    inputs = (COUNTS, CATEGORY_VALUES)
    outputs = (CAT, CONT)
    files = (ADS_TRANSFORMS,)

    def __init__(self, transforms: AdsTransforms) -> None:
        self._transforms = transforms

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> AdsNvtTransform:
        """Compile the workflow."""
        return cls(AdsTransforms.read(directory / ADS_TRANSFORMS))

    def run(self, inputs: Tensors) -> Tensors:
        """Return indices and normalised counts.

        Raises:
            StageInputInvalid: counts and categories are of different numbers of ads.
        """
        counts, categories = inputs[COUNTS.name], inputs[CATEGORY_VALUES.name]
        if len(counts) != len(categories):
            raise StageInputInvalid(
                f"{COUNTS.name} has {len(counts)} ads, {CATEGORY_VALUES.name} has {len(categories)}"
            )
        return {
            CAT.name: self._transforms.categories_of(categories),
            CONT.name: self._transforms.numbers(counts),
        }


class AdsDcn(Stage):
    """Gives each ad its click probability, and the number of the release."""

    name = ADS_DCN
    inputs = (CAT, CONT)
    outputs = (SCORE, RELEASE)
    files = (MODEL,)

    def __init__(self, session: onnxruntime.InferenceSession, version: int) -> None:
        self._session = session
        self._release = np.array([version], np.int64)

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> AdsDcn:
        """Open the network."""
        return cls(open_session(directory / MODEL, (CAT.name, CONT.name)), version)

    def run(self, inputs: Tensors) -> Tensors:
        """Return the click probabilities.

        Raises:
            ModelOutputInvalid: a score is not finite.
        """
        given = {name: inputs[name] for name in (CAT.name, CONT.name)}
        scores: np.ndarray = self._session.run([SCORE.name], given)[0].reshape(-1)
        if not np.isfinite(scores).all():
            raise ModelOutputInvalid(
                f"{self.name}: {int((~np.isfinite(scores)).sum())} of {scores.size} scores are not "
                "finite"
            )
        return {SCORE.name: scores, RELEASE.name: self._release}
