"""Fill in what a request leaves out, with the values that training used."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from recsys_assets.columns import MISSING
from recsys_assets.serving.stages import tensors as t
from recsys_assets.serving.stages.answer import MAX_VISITORS, REQUEST
from recsys_assets.serving.stages.stage import Stage, StageInputInvalid, Tensors
from recsys_assets.settings import Settings

#: Stands for a number that the caller does not give.
ABSENT = -1


def known_visitors(visitors: Sequence[str]) -> list[str]:
    """Return the visitors that a store can know, each once; anonymous ones drop out."""
    return [visitor for visitor in dict.fromkeys(visitors) if visitor != MISSING]


class ContextPreprocessor(Stage):
    """Fills in the defaults of a request.

    Device "-1", the server's clock, as many items as the release gives, and no seed.

    Args:
        clock: Unix seconds.
    """

    name = "context_preprocessor"
    inputs = REQUEST
    outputs = (t.VISITOR_ID, t.CONTEXT_DEVICE, t.CONTEXT_TIMESTAMP, t.CONTEXT_TOP_K, t.CONTEXT_SEED)

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> ContextPreprocessor:
        """Return the stage, which has no files."""
        return cls()

    def run(self, inputs: Tensors) -> Tensors:
        """Check the request and fill in its defaults."""
        visitors = len(inputs[t.USER_ID.name])
        if not 1 <= visitors <= MAX_VISITORS:
            raise StageInputInvalid(
                f"user_id must hold 1 to {MAX_VISITORS} visitors, got {visitors}"
            )
        for name in (spec.name for spec in REQUEST[1:]):
            if name in inputs and len(inputs[name]) != visitors:
                raise StageInputInvalid(
                    f"{name} must be absent or as many as user_id, got {len(inputs[name])} for "
                    f"{visitors}"
                )
        device = np.full(visitors, MISSING, np.object_)
        if t.DEVICE_TYPE.name in inputs:
            device[:] = [given or MISSING for given in inputs[t.DEVICE_TYPE.name].tolist()]
        timestamp = self._numbers(inputs, t.TIMESTAMP.name, 0, "unix seconds (≥ 0) or -1 for now")
        if ABSENT in timestamp:
            now = int(self._clock())
            timestamp = [now if given == ABSENT else given for given in timestamp]
        top_k = self._numbers(inputs, t.TOP_K.name, 1, "a number of items (≥ 1) or -1 for all")
        seed = self._numbers(inputs, t.SEED.name, 0, "≥ 0, or -1 for a random one")
        return {
            t.VISITOR_ID.name: inputs[t.USER_ID.name],
            t.CONTEXT_DEVICE.name: device,
            t.CONTEXT_TIMESTAMP.name: np.array(timestamp, np.int64),
            t.CONTEXT_TOP_K.name: np.array(top_k, np.int32),
            t.CONTEXT_SEED.name: np.array(seed, np.int64),
        }

    @staticmethod
    def _numbers(inputs: Tensors, name: str, least: int, form: str) -> list[int]:
        """Return a number per visitor [B], ABSENT where none is given."""
        if name not in inputs:
            return [ABSENT] * len(inputs[t.USER_ID.name])
        values: list[int] = inputs[name].tolist()
        for value in values:
            if value < least and value != ABSENT:
                raise StageInputInvalid(f"{name} must be {form}, got {value}")
        return values
