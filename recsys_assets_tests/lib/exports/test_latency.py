"""A model's call is timed as serving makes it."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.files import FileCorrupt
from recsys_assets.lib.exports import latency
from recsys_assets_tests.support import linear_onnx


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    linear_onnx.write_models(folder)
    return folder


def inputs(file: str, rows: int) -> dict[str, np.ndarray]:
    return {
        name: np.ones((rows, width), np.int32 if name == "cat" else np.float32)
        for name, width in linear_onnx.MODELS[file][0].items()
    }


def test_more_rows_take_longer(folder):
    few, many = (
        latency.median_ms(folder / "dlrm.onnx", inputs("dlrm.onnx", rows), repetitions=9)
        for rows in (1, 20_000)
    )
    assert 0 < few < many < 10_000


def test_other_inputs_and_no_repetition_are_refused(folder):
    given = inputs("query_tower.onnx", 1)
    with pytest.raises(FileCorrupt, match="export the model again"):
        latency.median_ms(folder / "query_tower.onnx", {"cat": given["cat"]})
    with pytest.raises(ValueError, match="repetitions"):
        latency.median_ms(folder / "query_tower.onnx", given, repetitions=0)
