"""`recsys bench loop` on the tiny release: every part is real, and no time is judged."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.bench.loop import drift, run, served_log
from recsys_assets.bench.loop.run import LoopPart, bench_loop, failed, table_rows
from recsys_assets.cli import bench_learning as bench
from recsys_assets.settings import Settings
from recsys_assets_tests.support import tiny_payload, tiny_store
from recsys_assets_tests.support.tiny_release import publish, settings_for


@pytest.mark.services
def test_the_log_holds_every_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for(tmp_path / "home")
    tiny_store.apply_views(settings)
    publish(ArtifactStore(settings.artifacts), settings)
    measure = partial(served_log.measure, requests=20, rounds=2)
    monkeypatch.setitem(run.PARTS, "served-log", LoopPart(measure, served_log.BARS))
    said: list[str] = []
    report = bench_loop(settings, said.append, ["served-log"])
    assert report == json.loads((settings.home / "bench" / "loop.json").read_text())
    figures = report["served_log"]
    assert figures["answers"] == 2 * (20 + 2 * 20)  # on two pairs of processes, each warmed up
    assert figures["missing"] == figures["doubled"] == 0
    assert figures["items_per_answer"] == min(10, tiny_payload.TOPK)
    assert figures["p50_ratio"] == pytest.approx(
        figures["p50_ms"] / figures["off_p50_ms"], abs=0.01
    )
    assert figures["bytes_per_answer"] > 0 and said
    # its own homes are gone, and nothing landed in the real one
    assert [path.name for path in (settings.home / "bench").iterdir()] == ["loop.json"]
    assert not Path(settings.landing).exists()


def test_a_part_keeps_the_figures_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def part(value: float) -> LoopPart:
        return LoopPart(lambda settings, folder, say: {"ratio": value}, {"ratio": 1.05})

    monkeypatch.setattr(run, "PARTS", {"one-part": part(1.0), "other": part(1.2)})
    settings = Settings(home=tmp_path)
    with pytest.raises(BenchFailed, match="no part is called third; there are one-part, other"):
        bench_loop(settings, print, ["third"])
    bench_loop(settings, print, ["other"])
    report: dict[str, Any] = bench_loop(settings, print, ["one-part"])
    assert {name: one["ratio"] for name, one in report.items()} == {"one_part": 1.0, "other": 1.2}
    assert not failed(report, ["one-part"]) and failed(report, ["other"]) and failed(report)
    rows = [row for row in table_rows(report) if row[1] == "ratio"]
    assert rows == [
        ("one-part", "ratio", "1.0", "at most 1.05: yes"),
        ("other", "ratio", "1.2", "at most 1.05: no"),
    ]


def test_without_a_release_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "get_settings", lambda: Settings(home=tmp_path))
    result = CliRunner().invoke(bench.app, ["loop", "--only", "served-log"])
    assert result.exit_code == 1 and "has no release to measure" in result.output


@pytest.mark.slow
def test_a_change_is_found_by_the_sensors_and_nothing_before_it(tmp_path: Path) -> None:
    """The shop that the sensors watch is short; the graph, the sensor and the log are real."""
    found = watched(tmp_path, days=6, shift=5)
    assert next(iter(found["alarms"])) in ("5", "6") and found["judged"] >= 2
    assert found["asked"] and found["asked"][0]["job"] == "fine_tune"
    assert found["asked"][-1]["day"] in ("5", "6")


def watched(folder: Path, days: int, shift: int | None) -> dict[str, Any]:
    """Return what the sensors find in a home of its own."""
    settings = Settings(home=folder)
    found: dict[str, Any] = drift._watched(settings, folder / "own", days, shift)
    return found
