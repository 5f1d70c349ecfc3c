"""`recsys bench training` on few rows: every key, every figure possible; no time is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench import command, training
from recsys_assets.settings import Settings, get_settings


def build(store: ArtifactStore, kind: str, partition: str | None, seconds: float = 0.0, **metrics: Any) -> None:
    with store.stage(kind, partition) as staged:
        staged.started -= seconds
        (staged.path / "file.txt").write_text(kind)
        staged.publish(metrics)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, scale="tiny")


def test_the_graphs_seconds_are_those_of_its_artifacts(settings: Settings) -> None:
    store = ArtifactStore(settings.artifacts)
    build(store, "features/datasets", "2024-01-12", seconds=6.0, peak_memory_mb=1024.0)
    build(store, "features/interactions", "2024-01-01", seconds=1.0, peak_memory_mb=512.0)
    build(store, "features/interactions", "2024-01-02", seconds=2.5, peak_memory_mb=2048.0)
    build(store, "raw/items", None, rows=3)
    found = training.full_graph(settings)
    assert (found["scale"], found["seconds"], found["peak_gib"]) == ("tiny", 9.5, 2.0)
    assert found["assets"]["features/interactions"] == {"seconds": 3.5, "peak_gib": 2.0, "partitions": 2}
    assert found["assets"]["raw/items"] == {"seconds": 0.0, "peak_gib": None, "partitions": 1}


def test_a_home_without_artifacts_has_no_graph(settings: Settings) -> None:
    assert training.full_graph(settings) == {"scale": "tiny", "seconds": None, "last_run": None, "peak_gib": None, "assets": None}


@pytest.mark.training
@pytest.mark.timeout(1500)
def test_every_figure_is_there_and_possible(tmp_path: Path) -> None:
    if not Settings().training_python.exists():
        pytest.skip(f"no training environment at {Settings().training_python}: run `make setup`")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_HOME", str(tmp_path))
        get_settings.cache_clear()
        result = CliRunner().invoke(command.app, ["training", "--users", "500", "--rows", "4000"], env={"COLUMNS": "200"})
    get_settings.cache_clear()
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "bench" / "training.json").read_text())
    for model, quality in training.QUALITY.items():
        part = report[model]
        assert part["rows"] == 4000 and part["rows_s"] > 0 and part["stock_rows_s"] > 0 and 0.2 < part["peak_gib"] < 20
        assert part["speedup"] == pytest.approx(part["rows_s"] / part["stock_rows_s"], abs=0.01)
        assert 0 < part[quality] < 1 and 0 < part[f"stock_{quality}"] < 1 and model in result.output
    assert report["two_tower"]["recall@100"] > 0.04  # above chance: 100 of 2,465
    assert report["full_graph"]["assets"] is None and not list((tmp_path / "bench").glob("training-*"))
