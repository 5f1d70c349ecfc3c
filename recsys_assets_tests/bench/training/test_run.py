"""`recsys bench training` on few rows: every key, every figure possible; no time is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recsys_assets.bench.training import run
from recsys_assets.cli import bench
from recsys_assets.settings import Settings, get_settings


@pytest.mark.training
@pytest.mark.timeout(1500)
def test_every_figure_is_there_and_possible(tmp_path: Path) -> None:
    if not Settings().training_python.exists():
        pytest.skip(f"no training environment at {Settings().training_python}: run `make setup`")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_HOME", str(tmp_path))
        get_settings.cache_clear()
        result = CliRunner().invoke(
            bench.app, ["training", "--users", "500", "--rows", "4000"], env={"COLUMNS": "200"}
        )
    get_settings.cache_clear()
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "bench" / "training.json").read_text())
    for model, quality in run.QUALITY.items():
        part = report[model]
        assert (
            part["rows"] == 4000
            and part["rows_s"] > 0
            and part["stock_rows_s"] > 0
            and 0.2 < part["peak_gib"] < 20
        )
        assert part["speedup"] == pytest.approx(part["rows_s"] / part["stock_rows_s"], abs=0.01)
        assert 0 < part[quality] < 1 and 0 < part[f"stock_{quality}"] < 1 and model in result.output
    assert report["two_tower"]["recall@100"] > 0.04  # above chance: 100 of 2,465
    assert report["full_graph"]["assets"] is None and not list(
        (tmp_path / "bench").glob("training-*")
    )
