"""Test the bench of files: its table, its file and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recsys_assets.bench.files import run, speed
from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.cli import bench
from recsys_assets.settings import Settings, get_settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


def test_the_command_judges_single_cases(settings: Settings):
    done = CliRunner().invoke(bench.app, ["files", "--only", "comma", "--only", "zip"])
    assert done.exit_code == 0, done.output
    report = json.loads((settings.home / "bench/files.json").read_text())
    assert report["files"] == {"comma": "right", "zip": "refused"}
    assert report["counts"] == {"right": 1, "refused": 1, "wrong": 0}
    assert "fuzz" not in report and "unpack" not in done.output


def test_an_unknown_case_is_named(settings: Settings):
    with pytest.raises(BenchFailed, match="no case is called zipp; there are comma"):
        run.bench_files(settings, print, only=["zipp"])


def test_the_fuzzer_runs_in_parts_and_a_dead_part_is_a_crash(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[dict[str, Any]] = []

    class Found:
        result = {"inputs": 5_000, "refused": 7, "faults": [], "slowest": 0.1}

    def part(module: str, request: dict[str, Any], folder: Path, settings: Settings) -> Any:
        asked.append(request)
        if request["seed"] == 1:
            raise BenchFailed("ended with code -11")
        return Found

    monkeypatch.setattr(run, "run_part", part)
    monkeypatch.setattr(run, "CASES", run.CASES[:3])
    report = run.bench_files(settings, print, fuzz_inputs=12_000, rows=0)
    assert sorted(one["inputs"] for one in asked) == [2_000, 5_000, 5_000]
    assert report["fuzz"]["crashes"] == 1 and "code -11" in report["fuzz"]["faults"][0]
    assert report["fuzz"]["inputs"] == 10_000 and run.failed(report)
    assert (tmp_path / "bench/files-faults/1").is_dir()


def test_wrong_cases_fail():
    report = {"counts": {"wrong": 1}, "files": {"comma": "wrong"}, "why": {"comma": "read []"}}
    assert run.failed(report)
    assert run.table_rows(report) == [("comma", "CSV", "wrong: read []")]
    assert not run.failed({"counts": {"wrong": 0}, "fuzz": {"crashes": 0, "hangs": 0, "lost": 0}})


def test_both_readers_read_the_large_log(tmp_path: Path):
    found = speed.body({"folder": str(tmp_path), "rows": 3_000, "rounds": 1})
    assert min(found["reader"], found["polars"], found["ingest"]) > 0
