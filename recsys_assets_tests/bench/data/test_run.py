"""The whole bench once, at tiny scale: every key, every figure positive, both engines equal; no
time is judged.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from recsys_assets.bench.data.floor import Stopwatch
from recsys_assets.bench.harness import agreement, part
from recsys_assets.cli import bench as command
from recsys_assets.partitions import SIMULATED_DAYS
from recsys_assets.settings import Settings, get_settings

MIB = 2**20


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    """The report, what was printed, and the home."""
    if not Settings().training_python.exists():
        pytest.skip(f"no training environment at {Settings().training_python}: run `make setup`")
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_HOME", str(home))
        get_settings.cache_clear()
        result = CliRunner().invoke(
            command.app, ["data", "--scale", "tiny", "--history-days", "3"], env={"COLUMNS": "200"}
        )
    get_settings.cache_clear()
    assert result.exit_code == 0, result.output
    return json.loads((home / "bench" / "data.json").read_text()), result.output, home


@pytest.mark.training
def test_every_figure_is_there_and_positive(bench: tuple[dict[str, Any], str, Path]):
    report, printed, _ = bench
    for name in ("simulate", "features", "batch_transform", "request_transform", "history"):
        for figure in ("seconds", "rows", "rows_s", "peak_gib"):
            assert report[name][figure] > 0, f"{name}.{figure}"
        assert name in printed
    features, batch, request = (
        report[name] for name in ("features", "batch_transform", "request_transform")
    )
    history = report["history"]
    assert history["days"] == 3 and history["rows"] == 3_000
    assert history["ms_per_day"] == pytest.approx(history["seconds"] / 3 * 1000, abs=1)
    assert features["ratio_to_floor"] > features["ratio_to_floor_with_rereads"] > 0
    assert batch["speedup_over_nvtabular"] > 0 and request["speedup_over_nvtabular"] > 0
    assert batch["nvtabular"]["processes"] == 1 and batch["nvtabular_on_dask"]["seconds"] > 0
    assert set(request["nvtabular"]["ways"]) == {"frame", "dataset"}
    assert (
        report["scale"] == "tiny"
        and report["cpu_count"] >= 1
        and report["versions"]["training"]["nvtabular"]
    )


@pytest.mark.training
def test_both_engines_gave_the_same_answers(bench: tuple[dict[str, Any], str, Path]):
    report, _, _ = bench
    for name in ("batch_transform", "request_transform"):
        assert (
            report[name]["equal"] is True
            and 0 <= report[name]["largest_difference"] <= agreement.TOLERANCE
        )


@pytest.mark.training
def test_the_parts_saw_the_same_data(bench: tuple[dict[str, Any], str, Path]):
    report, _, home = bench
    features, floor = report["features"], report["features"]["floor"]
    assert report["simulate"]["rows"] == features["rows"] > report["batch_transform"]["rows"] > 0
    assert len(features["seconds_by_day"]) == len(features["peak_gib_by_day"]) == SIMULATED_DAYS
    assert sum(features["seconds_by_day"]) == pytest.approx(features["seconds"], abs=0.02)
    assert floor["bytes"] == floor["read"]["bytes"] + floor["write"]["bytes"]
    assert (
        floor["read"]["bytes"] < report["simulate"]["bytes"]
    )  # the landing zone also holds images
    assert [path.name for path in (home / "bench").iterdir()] == [
        "data.json"
    ]  # its own home is gone


def run(folder: Path, body: str) -> part.Measured:
    """A part of the test's own."""
    code = (
        "from recsys_assets.bench.harness.part import main\nimport subprocess, sys\ndef "
        f"body(request):\n{body}\nmain(body)\n"
    )
    (folder / "own.py").write_text(code)
    (folder / "request.json").write_text("{}")
    return part.run_process(
        "own",
        [sys.executable, str(folder / "own.py"), str(folder / "request.json")],
        folder,
        Settings(),
    )


def test_peak_memory_is_the_parts_own(tmp_path: Path):
    ballast = bytearray(b"x" * 500 * MIB)  # what ru_maxrss of a child would show
    small = run(tmp_path, "    return {'answer': 1}")
    large = run(tmp_path, f"    hold = bytearray(b'x' * {300 * MIB}); del hold; return {{}}")
    assert small.result["answer"] == 1 and len(ballast) == 500 * MIB
    assert small.peak_gib < 200 / 1024 and large.peak_gib > small.peak_gib + 290 / 1024


def test_peak_memory_counts_children(tmp_path: Path):
    child = f"import time; hold = bytearray(b'x' * {200 * MIB}); time.sleep(1)"
    measured = run(
        tmp_path, f"    subprocess.run([sys.executable, '-c', {child!r}], check=True); return {{}}"
    )
    assert measured.peak_gib > 210 / 1024


def test_a_part_that_fails_says_why(tmp_path: Path):
    with pytest.raises(part.BenchFailed, match=r"(?s)own ended with code 1.*no such day"):
        run(tmp_path, "    raise ValueError('no such day')")


def test_an_unknown_scale_is_refused_before_anything_runs(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "recsys_assets.cli.main", "bench", "data", "--scale", "huge"],
        timeout=60,
        capture_output=True,
        text=True,
        env={**os.environ, "RECSYS_HOME": str(tmp_path)},
    )
    assert (
        done.returncode == 2
        and "'tiny', 'demo' or 'seed'" in done.stderr
        and not list(tmp_path.iterdir())
    )


def write(folder: Path, name: str, **columns: list[Any]) -> Path:
    pl.DataFrame(columns, schema_overrides={"i": pl.Int32, "f": pl.Float32}).write_parquet(
        folder / name
    )
    return folder / name


def test_agreement_joins_files_in_the_order_of_their_numbers(tmp_path: Path):
    for n in range(11):
        write(tmp_path, f"part_{n}.parquet", i=[n])
    whole = tmp_path / "whole"
    whole.mkdir()
    found = agreement.largest_difference(
        agreement.in_order(tmp_path), [write(whole, "a.parquet", i=list(range(11)))], ["i"]
    )
    assert found == {"i": 0.0}


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ({"i": [1, 2]}, {"i": [1, 3]}, "i: 1 of 2 rows"),
        ({"i": [1, 2]}, {"i": [1]}, "wrote 2 rows, NVTabular 1"),
        ({"f": [0.0, 1.0]}, {"f": [0.0, 1.00001]}, "f: 1 of 2 rows"),
        ({"f": [0.0, None]}, {"f": [0.0, None]}, "f: 1 of 2 rows"),
        ({"f": [0.0, float("nan")]}, {"f": [0.0, 1.0]}, "f: 1 of 2 rows"),
    ],
)
def test_disagreement_is_named(
    tmp_path: Path, ours: dict[str, Any], theirs: dict[str, Any], message: str
):
    with pytest.raises(part.BenchFailed, match=message):
        agreement.largest_difference(
            [write(tmp_path, "a.parquet", **ours)],
            [write(tmp_path, "b.parquet", **theirs)],
            list(ours),
        )


def test_agreement_within_the_tolerance(tmp_path: Path):
    a, b = (
        write(tmp_path, "a.parquet", f=[0.5, 0.25]),
        write(tmp_path, "b.parquet", f=[0.5 + 5e-7, 0.25]),
    )
    assert agreement.largest_difference([a], [b], ["f"])["f"] == pytest.approx(5e-7, rel=0.2)


def test_the_floor_counts_bytes_as_they_lie_on_disk(tmp_path: Path):
    path, watch = write(tmp_path, "a.parquet", i=list(range(1000))), Stopwatch()
    watch.write(watch.read(path), tmp_path / "b.parquet")
    assert (
        watch.bytes == path.stat().st_size + (tmp_path / "b.parquet").stat().st_size
        and watch.seconds > 0
    )
