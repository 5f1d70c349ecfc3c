"""What `make demo` says of memory."""

from __future__ import annotations

import pytest

from recsys_assets import pipeline
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.part import GIB, peak_bytes
from recsys_assets.settings import Settings


def test_the_largest_training_step_and_this_process(tmp_path):
    settings = Settings(home=tmp_path)
    store = ArtifactStore(settings.artifacts)
    for kind, metrics in (("retrieval/two_tower", {"seconds": 3.0, "peak_memory_mb": 1536.0}), ("raw/items", {"rows": 3}),
                          ("ranking/dlrm", {"seconds": 9.0, "peak_memory_mb": 1024.0})):
        with store.stage(kind, None if kind == "raw/items" else "2026-11-19") as staged:
            (staged.path / "file").write_text(kind)
            staged.publish(metrics)
    found = pipeline.peaks(settings)
    assert (found["asset"], found["training_step"]) == ("retrieval/two_tower", 1.5)
    assert found["this_process"] == pytest.approx(peak_bytes() / GIB, abs=0.05) and found["this_process"] > 0.05


def test_a_home_in_which_nothing_was_trained(tmp_path):
    found = pipeline.peaks(Settings(home=tmp_path))
    assert found["training_step"] is None and found["asset"] is None and found["this_process"] > 0
