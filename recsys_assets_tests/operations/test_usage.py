"""Seconds and peak memory, as ``usage`` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.operations import usage
from recsys_assets.settings import Settings


def build(
    store: ArtifactStore, kind: str, partition: str | None, seconds: float = 0.0, **metrics: Any
) -> None:
    with store.stage(kind, partition) as staged:
        staged.started -= seconds
        (staged.path / "file.txt").write_text(kind)
        staged.publish(metrics)


def test_the_largest_training_step_and_this_process(tmp_path):
    settings = Settings(home=tmp_path)
    store = ArtifactStore(settings.artifacts)
    for kind, metrics in (
        ("retrieval/two_tower", {"seconds": 3.0, "peak_memory_mb": 1536.0}),
        ("raw/items", {"rows": 3}),
        ("ranking/dlrm", {"seconds": 9.0, "peak_memory_mb": 1024.0}),
    ):
        with store.stage(kind, None if kind == "raw/items" else "2026-11-19") as staged:
            (staged.path / "file").write_text(kind)
            staged.publish(metrics)
    found = usage.peaks(settings)
    assert (found["asset"], found["training_step"]) == ("retrieval/two_tower", 1.5)
    assert (
        found["this_process"] == pytest.approx(usage.peak_bytes() / usage.GIB, abs=0.05)
        and found["this_process"] > 0.05
    )


def test_a_home_in_which_nothing_was_trained(tmp_path):
    found = usage.peaks(Settings(home=tmp_path))
    assert found["training_step"] is None and found["asset"] is None and found["this_process"] > 0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, scale="tiny")


def test_the_graphs_seconds_are_those_of_its_artifacts(settings: Settings) -> None:
    store = ArtifactStore(settings.artifacts)
    build(store, "features/datasets", "2024-01-12", seconds=6.0, peak_memory_mb=1024.0)
    build(store, "features/interactions", "2024-01-01", seconds=1.0, peak_memory_mb=512.0)
    build(store, "features/interactions", "2024-01-02", seconds=2.5, peak_memory_mb=2048.0)
    build(store, "raw/items", None, rows=3)
    found = usage.graph_usage(settings)
    assert (found["scale"], found["seconds"], found["peak_gib"]) == ("tiny", 9.5, 2.0)
    assert found["assets"]["features/interactions"] == {
        "seconds": 3.5,
        "peak_gib": 2.0,
        "partitions": 2,
    }
    assert found["assets"]["raw/items"] == {"seconds": 0.0, "peak_gib": None, "partitions": 1}


def test_a_home_without_artifacts_has_no_graph(settings: Settings) -> None:
    assert usage.graph_usage(settings) == {
        "scale": "tiny",
        "seconds": None,
        "last_run": None,
        "peak_gib": None,
        "assets": None,
    }


def test_a_peak_can_begin_again():
    hold = bytearray(b"x" * 200 * usage.MEGABYTE)
    before = usage.peak_bytes()
    del hold
    usage.reset_peak()
    assert usage.peak_bytes() < before - 150 * usage.MEGABYTE
