"""The bench of the ads graph on small days: every figure is there, and none is made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.bench.ads import quality
from recsys_assets.settings import Settings

SMALL = {"cross_layers": 1, "deep_width": 32, "batch_size": 128, "dropout": 0.1, "epochs": 1}


@pytest.mark.training
def test_a_small_day_gives_every_figure(tmp_path: Path) -> None:
    lines: list[str] = []
    settings = Settings(home=tmp_path / "home")
    if not settings.training_python.exists():
        pytest.skip("no training environment: run `make setup`")
    (tmp_path / "scratch").mkdir()
    found = quality.measure_quality(settings, tmp_path / "scratch", lines.append, 2_000, SMALL)
    assert found["rows"] == 2_000 and found["parity.differences"] == 0
    for name in ("workflow", "datasets", "dcn", "evaluation"):
        assert found[f"steps.{name}_seconds"] > 0 and found[f"steps.{name}_peak_gib"] > 0.1
    aucs = {name: found[f"quality.auc_{name}"] for name in quality.SYSTEMS}
    assert max(aucs, key=aucs.__getitem__) == "oracle" and aucs["oracle"] > 0.75
    lift = (aucs["dcn"] - 0.5) / (aucs["oracle"] - 0.5)
    assert found["quality.of_oracle_lift"] == pytest.approx(lift, abs=1e-3)
    assert set(found["quality.above"]) == {
        "logistic_regression",
        "factorization_machine",
        "boosted_trees",
    }
    assert len(lines) == 5
