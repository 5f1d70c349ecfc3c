"""A query tower of items as the training environment writes it, and its answers by numpy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from recsys_assets.settings import PROJECT_ROOT, Settings

HALF_LIFE = 30.0  # hours

_WRITE = """
import sys
from pathlib import Path
import numpy as np
from recsys_assets.training.retrieval.simple_models import write_query_tower
with np.load(sys.argv[1]) as stored:
    write_query_tower(stored["table"], stored["constant"], float(stored["half_life"]),
                      int(sys.argv[2]), Path(sys.argv[3]))
"""


def arrays(items: int) -> dict[str, np.ndarray]:
    """What a rung says of its query: table float32 [3 + I, 64], constant and half_life."""
    random = np.random.default_rng(12)
    table = random.normal(0, 0.3, (3 + items, 64)).astype(np.float32)
    table[:3] = 0
    constant = random.normal(0, 0.3, 64).astype(np.float32)
    return {"table": table, "constant": constant, "half_life": np.float64(HALF_LIFE)}


def write_items_tower(path: Path, items: int, width: int) -> dict[str, np.ndarray]:
    """Write the ONNX file of ``arrays``; return these."""
    made, stored = arrays(items), path.with_suffix(".npz")
    np.savez(stored, **made)
    command = [str(Settings().training_python), "-c", _WRITE, str(stored), str(width), str(path)]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, timeout=300)
    stored.unlink()
    return made


def answer(made: dict[str, np.ndarray], items: np.ndarray, ages: np.ndarray) -> np.ndarray:
    """What the tower must give of B visitors, float64 [B, 64], click by click."""
    found = []
    for clicked, hours in zip(items.tolist(), ages.astype(np.float64).tolist(), strict=True):
        query = made["constant"].astype(np.float64)
        for item, age in zip(clicked, hours, strict=True):
            query = query + 0.5 ** (age / float(made["half_life"])) * made["table"][item]
        found.append(query)
    return np.array(found)
