"""The report of the ads bench: parts beside each other, and bars that can be missed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recsys_assets.bench.ads import run
from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.settings import Settings

REACHED = {
    "drift.detected": 1.0,
    "drift.false_alarms": 0.0,
    "quality.of_oracle_lift": 0.99,
    "parity.differences": 0,
}


def test_a_run_of_one_part_keeps_the_figures_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: Any) -> dict[str, Any]:
        return {"quality.auc_dcn": 0.8}

    monkeypatch.setattr(run.quality, "measure_quality", measured)
    path = tmp_path / "bench/ads.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"drift.detected": 1.0, "quality.auc_dcn": 0.1}))
    report = run.bench_ads(Settings(home=tmp_path), print, ["quality"])
    assert report == json.loads(path.read_text())
    assert (report["drift.detected"], report["quality.auc_dcn"]) == (1.0, 0.8)


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="no part is called speed; there are drift, recovery"):
        run.bench_ads(Settings(home=tmp_path), print, ["speed"])


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("drift.detected", 0.94),
        ("drift.false_alarms", 0.02),
        ("quality.of_oracle_lift", 0.97),
        ("parity.differences", 1),
    ],
)
def test_a_missed_bar_fails_its_part_alone(figure: str, value: float) -> None:
    assert not run.failed(REACHED)
    missed = {**REACHED, figure: value}
    assert run.failed(missed)
    own = "drift" if figure.startswith("drift") else "quality"
    other = "quality" if own == "drift" else "drift"
    assert run.failed(missed, [own]) and not run.failed(missed, [other])
    told = {name: wanted for name, _, wanted in run.table_rows({**missed, "rows": 10})}
    assert told[figure].endswith(": no") and told["rows"] == ""


@pytest.mark.training
def test_our_training_beside_merlins_own(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    if not settings.training_python.exists():
        pytest.skip("no training environment: run `make setup`")
    (tmp_path / "scratch").mkdir()
    found = run._training(settings, tmp_path / "scratch", print, 1_500)
    ratio = found["training.rows_per_second"] / found["training.stock_rows_per_second"]
    assert found["training.ratio"] == pytest.approx(ratio, abs=0.01)
    assert found["training.auc"] > 0.5 and found["training.stock_auc"] > 0.5
