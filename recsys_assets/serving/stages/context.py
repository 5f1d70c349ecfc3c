"""Who asks from where and when: missing parts of a request get the values that training used for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recsys_assets.columns import MISSING
from recsys_assets.serving.stage import Stage, StageInputInvalid, Tensors, TensorSpec
from recsys_assets.settings import Settings

#: The value of a timestamp that the caller does not know.
NO_TIMESTAMP = -1


class ContextPreprocessor(Stage):
    """Device "-1" and the server's clock where the request says nothing."""

    name = "context_preprocessor"
    inputs = (TensorSpec("device_type", "STRING", (1,), optional=True),
              TensorSpec("timestamp", "INT64", (1,), optional=True))
    outputs = (TensorSpec("context_device", "STRING", (1,)), TensorSpec("context_timestamp", "INT64", (1,)))

    def __init__(self, clock: Callable[[], float] = time.time):
        self._clock = clock

    @classmethod
    def open(cls, directory: Path, settings: Settings, version: int) -> ContextPreprocessor:
        return cls()

    def run(self, inputs: Tensors) -> Tensors:
        device = inputs["device_type"][0] if "device_type" in inputs else MISSING
        timestamp = int(inputs["timestamp"][0]) if "timestamp" in inputs else NO_TIMESTAMP
        if timestamp < NO_TIMESTAMP:
            raise StageInputInvalid(f"timestamp must be unix seconds (≥ 0) or {NO_TIMESTAMP} for now, got {timestamp}")
        if timestamp == NO_TIMESTAMP:
            timestamp = int(self._clock())
        return {"context_device": np.array([device or MISSING], dtype=np.object_),
                "context_timestamp": np.array([timestamp], dtype=np.int64)}
