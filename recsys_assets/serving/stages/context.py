"""Who asks from where and when: missing parts of a request get the values that training used for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from recsys_assets.columns import MISSING
from recsys_assets.serving.answer import MAX_VISITORS, REQUEST
from recsys_assets.serving.stage import Stage, StageInputInvalid, Tensors, TensorSpec
from recsys_assets.settings import Settings

#: A number that the caller leaves to the defaults.
ABSENT = -1
VISITOR_ID = TensorSpec("visitor_id", "STRING", (-1,))
CONTEXT_DEVICE, CONTEXT_TIMESTAMP = TensorSpec("context_device", "STRING", (-1,)), TensorSpec("context_timestamp", "INT64", (-1,))
CONTEXT_TOP_K, CONTEXT_SEED = TensorSpec("context_top_k", "INT32", (-1,)), TensorSpec("context_seed", "INT64", (-1,))


def known_visitors(visitors: Sequence[str]) -> list[str]:
    """Those that a store can know something of, each once: anonymous ones share nothing."""
    return [visitor for visitor in dict.fromkeys(visitors) if visitor != MISSING]


class ContextPreprocessor(Stage):
    """The request with its defaults: device "-1", the server's clock, as many items as the release gives, no seed."""

    name = "context_preprocessor"
    inputs = REQUEST
    outputs = (VISITOR_ID, CONTEXT_DEVICE, CONTEXT_TIMESTAMP, CONTEXT_TOP_K, CONTEXT_SEED)

    def __init__(self, clock: Callable[[], float] = time.time):
        self._clock = clock

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> ContextPreprocessor:
        return cls()

    def run(self, inputs: Tensors) -> Tensors:
        visitors = len(inputs["user_id"])
        if not 1 <= visitors <= MAX_VISITORS:
            raise StageInputInvalid(f"user_id must hold 1 to {MAX_VISITORS} visitors, got {visitors}")
        for name in ("device_type", "timestamp", "top_k", "seed"):
            if name in inputs and len(inputs[name]) != visitors:
                raise StageInputInvalid(f"{name} must be absent or as many as user_id, got {len(inputs[name])} for {visitors}")
        device = np.full(visitors, MISSING, np.object_)
        if "device_type" in inputs:
            device[:] = [given or MISSING for given in inputs["device_type"].tolist()]
        timestamp = self._numbers(inputs, "timestamp", 0, "unix seconds (≥ 0) or -1 for now")
        if ABSENT in timestamp:
            now = int(self._clock())
            timestamp = [now if given == ABSENT else given for given in timestamp]
        top_k = self._numbers(inputs, "top_k", 1, "a number of items (≥ 1) or -1 for all")
        seed = self._numbers(inputs, "seed", 0, "≥ 0, or -1 for a random one")
        return {"visitor_id": inputs["user_id"], "context_device": device, "context_timestamp": np.array(timestamp, np.int64),
                "context_top_k": np.array(top_k, np.int32), "context_seed": np.array(seed, np.int64)}

    @staticmethod
    def _numbers(inputs: Tensors, name: str, least: int, form: str) -> list[int]:
        """[B], ABSENT where nothing is given."""
        if name not in inputs:
            return [ABSENT] * len(inputs["user_id"])
        values = inputs[name].tolist()
        for value in values:
            if value < least and value != ABSENT:
                raise StageInputInvalid(f"{name} must be {form}, got {value}")
        return values
