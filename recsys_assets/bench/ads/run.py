"""Run ``recsys bench ads``: the monitor of drift, and the ads graph on simulated days.

Each part has its own figures in ``home/bench/ads.json``. A run of some parts keeps the figures of
the others.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from recsys_assets.bench.ads import drift, quality, recovery, request
from recsys_assets.bench.harness.part import refuse_unknown, run_training_part
from recsys_assets.files import write_json
from recsys_assets.settings import Settings

Say = Callable[[str], None]
#: Part → first words of its figures.
PARTS = {
    "drift": ("drift",),
    "recovery": ("drift",),
    "quality": ("quality", "parity"),
    "training": ("training",),
    "request": ("request",),
}
#: Figure → its bar, and whether it is the least or the most that is accepted.
BARS: Mapping[str, tuple[float, str]] = {
    "drift.detected": (0.95, "at least"),
    "drift.false_alarms": (0.01, "at most"),
    "drift.auc_recovered": (-0.01, "at least"),
    "quality.of_oracle_lift": (0.98, "at least"),
    "parity.differences": (0, "at most"),
}
#: Rows of a day for the comparison with Merlin's own way.
TRAINING_ROWS = 200_000
#: Rows of a day for the model that answers requests; its size depends little on them.
REQUEST_ROWS = 100_000


def bench_ads(
    settings: Settings, say: Say, only: Collection[str] = (), rows: int = quality.ROWS
) -> dict[str, Any]:
    """Measure the parts; write and return ``home/bench/ads.json``, flat by key.

    Args:
        settings: of the home.
        say: receives a line per step.
        only: names of parts; empty: all.
        rows: shown ads of each simulated day of ``quality``.

    Raises:
        BenchFailed: a name is unknown, or a step failed.
    """
    refuse_unknown("part", only, list(PARTS))
    folder = settings.home / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ads.json"
    report: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    for name in only or PARTS:
        with tempfile.TemporaryDirectory(dir=folder, prefix="ads-") as scratch:
            if name == "drift":
                report |= _drift(say)
            elif name == "quality":
                report |= quality.measure_quality(settings, Path(scratch), say, rows)
            elif name == "recovery":
                report |= recovery.measure_recovery(settings, Path(scratch), say, rows)
            elif name == "request":
                report |= request.measure_request(
                    settings, Path(scratch), say, min(rows, REQUEST_ROWS)
                )
            else:
                report |= _training(settings, Path(scratch), say, min(rows, TRAINING_ROWS))
        report["cpu_count"] = os.cpu_count()
        write_json(path, report)
    return report


def _drift(say: Say) -> dict[str, Any]:
    found = drift.measure_drift(say)
    return {
        "drift.detected": found.rolling_auc.found_in_time,
        "drift.delay_p95": found.rolling_auc.delay_p95,
        "drift.false_alarms": found.rolling_auc.false_alarms,
        "drift.by_loss": dataclasses.asdict(found.log_loss),
        "drift.auc_before": round(found.auc_before, 4),
        "drift.auc_after": round(found.auc_after, 4),
        "drift.threshold": round(found.threshold, 4),
    }


def _training(settings: Settings, scratch: Path, say: Say, rows: int) -> dict[str, Any]:
    """Train by Merlin's own way and by ours on the same rows, one after the other."""
    data = quality.prepare(settings, scratch, say, rows)
    inputs = {name: str(data[name]) for name in ("workflow", "datasets")}
    params = {"seed": settings.seed, "epochs": 1, "learning_rate_decay": 1.0, "patience": 0}
    found = {}
    for name, module in (
        ("ours", "recsys_assets.training.ads_ctr.train_dcn"),
        ("stock", "recsys_assets.bench.ads.train_stock"),
    ):
        output = scratch / name
        output.mkdir()
        done = run_training_part(module, inputs, output, params, scratch, settings)
        found[name] = done.result["metrics"]
        say(
            f"{name}: {found[name]['rows_per_second']:,.0f} rows/s, AUC {found[name]['auc']:.4f}, "
            f"{done.peak_gib:.2f} GiB"
        )
    ours, stock = found["ours"], found["stock"]
    return {
        "training.rows_per_second": ours["rows_per_second"],
        "training.stock_rows_per_second": stock["rows_per_second"],
        "training.ratio": round(ours["rows_per_second"] / stock["rows_per_second"], 2),
        "training.auc": round(ours["auc"], 4),
        "training.stock_auc": round(stock["auc"], 4),
        "training.rows": rows,
    }


def met(figure: str, value: float) -> bool | None:
    """Return whether a figure meets its bar; None: it has none."""
    if figure not in BARS:
        return None
    bar, side = BARS[figure]
    return value >= bar if side == "at least" else value <= bar


def table_rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield figure, value, and the bar with whether it is met."""
    for figure, value in report.items():
        reached = met(figure, value) if figure in BARS else None
        bar = "" if reached is None else f"{BARS[figure][1]} {BARS[figure][0]:g}"
        shown = f"{value:,}" if isinstance(value, (int, float)) else str(value)
        yield figure, shown, bar and f"{bar}: {'yes' if reached else 'no'}"


def failed(report: Mapping[str, Any], only: Collection[str] = ()) -> bool:
    """Return whether a figure of the parts misses its bar; ``only`` as of ``bench_ads``."""
    words = {word for name in only or PARTS for word in PARTS[name]}
    return any(
        met(figure, report[figure]) is False
        for figure in BARS
        if figure in report and figure.split(".")[0] in words
    )
