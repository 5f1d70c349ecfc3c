"""Measures one call of an exported model, opened as in serving: onnxruntime on one CPU thread.

The median over repetitions is taken, because a few calls are slowed by other processes on the same
core.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recsys_assets.lib.exports.session import open_session

#: Rows per call in serving: one visitor, and the candidates of retrieval (settings.retrieval_topk).
QUERY_ROWS, RANKER_ROWS = 1, 300
WARM_UP, REPETITIONS = 5, 50


def median_ms(
    model: Path,
    inputs: Mapping[str, np.ndarray],
    *,
    optional: tuple[str, ...] = (),
    repetitions: int = REPETITIONS,
    warm_up: int = WARM_UP,
) -> float:
    """Return the median time of one call, milliseconds.

    Args:
        model: an ONNX file.
        inputs: its inputs by name, with as many rows as in serving.
        optional: names of inputs that the model may lack, all or none.
        repetitions: measured calls.
        warm_up: calls before them.

    Raises:
        FileCorrupt: the model takes other inputs.
        ValueError: repetitions is below 1, or warm_up below 0.
    """
    if repetitions < 1 or warm_up < 0:
        raise ValueError(
            f"repetitions {repetitions} must be at least 1, warm_up {warm_up} at least 0"
        )
    required = tuple(name for name in inputs if name not in optional)
    session = open_session(model, required, optional)
    given = {
        tensor.name: np.ascontiguousarray(inputs[tensor.name]) for tensor in session.get_inputs()
    }
    taken = []
    for _ in range(warm_up + repetitions):
        started = time.perf_counter()
        session.run(None, given)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken[warm_up:])) * 1e3
