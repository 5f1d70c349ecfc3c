"""Runs one stage as a model would: inputs and outputs must be of their declared form."""

from __future__ import annotations

import numpy as np

from recsys_assets.serving.stages.stage import Stage, Tensors


def run(stage: Stage, **inputs: np.ndarray) -> Tensors:
    stage.check_inputs(inputs)
    found = stage.run(inputs)
    for spec in stage.outputs:
        spec.check(found[spec.name])
    return found
