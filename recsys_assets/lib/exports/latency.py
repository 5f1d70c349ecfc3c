"""What one call of an exported model takes, opened as serving opens it: onnxruntime on one thread
of the CPU.

The median over repetitions: another process's turn on the same core makes a few calls long, and
says nothing of the model.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recsys_assets.lib.exports.session import open_session

#: Rows of one call while serving: one visitor, and the candidates that retrieval hands on
#: (settings.retrieval_topk).
QUERY_ROWS, RANKER_ROWS = 1, 300
WARM_UP, REPETITIONS = 5, 50


def median_ms(
    model: Path,
    inputs: Mapping[str, np.ndarray],
    *,
    repetitions: int = REPETITIONS,
    warm_up: int = WARM_UP,
) -> float:
    """Milliseconds of a call, the median.

    Args:
        model: an ONNX file. inputs: its inputs by name, as they are while serving.

    Raises:
        FileCorrupt: the model takes other inputs. ValueError: no repetition.
    """
    if repetitions < 1 or warm_up < 0:
        raise ValueError(
            f"repetitions {repetitions} must be at least 1, warm_up {warm_up} at least 0"
        )
    session = open_session(model, tuple(inputs))
    given = {name: np.ascontiguousarray(values) for name, values in inputs.items()}
    taken = []
    for _ in range(warm_up + repetitions):
        started = time.perf_counter()
        session.run(None, given)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken[warm_up:])) * 1e3
