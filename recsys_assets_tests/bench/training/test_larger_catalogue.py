"""A synthetic item has the rows of its real item in every model that looks items up."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np

from recsys_assets.bench.harness.part import run_training_part
from recsys_assets.settings import get_settings
from recsys_assets_tests.support import tiny_payload

ITEMS = len(tiny_payload.ITEM_IDS)
BASE = [2, 0, 2, *range(ITEMS), 1, 5]

_QUERY_TOWER = """
import json, sys
import numpy as np
from pathlib import Path
from recsys_assets.training.retrieval.simple_models import write_query_tower
table = np.load(sys.argv[1])
write_query_tower(table, np.zeros(64, np.float32), 24.0, 14, Path(sys.argv[2]))
"""
_ASK = """
import json, sys
import numpy as np, onnxruntime
asked = json.loads(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1])
items = np.zeros((len(asked), 50), np.int32); items[:, 0] = asked
given = {
    "cat": np.zeros((len(asked), 5), np.int32), "cont": np.zeros((len(asked), 8), np.float32),
    "history": np.zeros((len(asked), 14), np.float32), "items": items,
    "age_hours": np.zeros((len(asked), 50), np.float32),
}
taken = {one.name for one in session.get_inputs()}
given = {name: values for name, values in given.items() if name in taken}
print(json.dumps(session.run(None, given)[0].tolist()))
"""


def python(code: str, *arguments: str) -> str:
    command = [str(get_settings().training_python), "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_the_query_tower_and_the_ranker_know_every_synthetic_item(tmp_path: Path) -> None:
    settings, models, base = get_settings(), tmp_path / "models", tmp_path / "base"
    for folder in (models, base):
        folder.mkdir()
    tiny_payload.write_onnx(models, settings)
    table = np.random.default_rng(3).normal(size=(3 + ITEMS, 64)).astype(np.float32)
    table[:3] = 0
    np.save(tmp_path / "table.npy", table)
    python(_QUERY_TOWER, str(tmp_path / "table.npy"), str(models / "query_tower" / "model.onnx"))
    np.save(base / "base.npy", np.array(BASE))
    found = run_training_part(
        "recsys_assets.bench.training.larger_catalogue",
        {"models": str(models), "base": str(base)},
        tmp_path / "larger",
        {"rows": 3 + ITEMS},
        tmp_path,
        settings,
    )
    rows = found.result["metrics"]["rows"]
    assert rows == {"query_tower": 3 + len(BASE), "dlrm_ranking": None}
    asked = [3 + row for row in range(len(BASE))]
    answer = python(
        _ASK, str(tmp_path / "larger" / "query_tower" / "model.onnx"), json.dumps(asked)
    )
    np.testing.assert_allclose(json.loads(answer), table[3:][BASE], atol=1e-6)
    # a model without a table by item is as it was
    small, large = (
        folder / "dlrm_ranking" / "items.onnx" for folder in (models, tmp_path / "larger")
    )
    assert small.stat().st_size == large.stat().st_size
