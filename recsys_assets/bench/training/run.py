"""Run ``recsys bench training``: both models beside Merlin's stock set-up.

Each model is trained in a process of its own, the stock set-up right after it, on equal rows. The
seconds and peaks of the whole graph are not measured: they are read from the artifacts of this
home, which record them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recsys_assets.bench.harness.part import Measured, run_training_part
from recsys_assets.files import write_json
from recsys_assets.operations.usage import graph_usage
from recsys_assets.settings import Settings

USERS, ITEMS = 300_000, 2_465
CLICKS, EXPOSURES = 1_200_000, 1_200_000
#: The figure that shows whether more speed costs quality.
QUALITY = {"two_tower": "recall@100", "dlrm": "auc"}

Say = Callable[[str], None]


def bench_training(
    settings: Settings, say: Say, users: int = USERS, rows: int | None = None, epochs: int = 1
) -> dict[str, Any]:
    """Measure both models; write and return ``home/bench/training.json``.

    Args:
        settings: of the home.
        say: receives one line per model.
        users: number of visitors.
        rows: clicks and exposures; default: those of the seed scale.
        epochs: passes of all four trainings.

    Raises:
        BenchFailed: a training failed.
    """
    folder = settings.home / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "users": users,
        "items": ITEMS,
        "epochs": epochs,
        "seed": settings.seed,
        "cpu_count": os.cpu_count(),
    }
    with tempfile.TemporaryDirectory(dir=folder, prefix="training-") as scratch:
        for model, quality in QUALITY.items():
            count = rows or (CLICKS if model == "two_tower" else EXPOSURES)
            ours, stock = (
                _part(name, Path(scratch), settings, users, count, epochs)
                for name in (model, f"stock_{model}")
            )
            report[model] = figures = _against_stock(ours, stock, quality)
            say(
                f"{model}: {figures['rows_s']:,.0f} rows/s, Merlin's stock set-up "
                f"{figures['stock_rows_s']:,.0f}; {quality} {figures[quality]:.4f} and "
                f"{figures[f'stock_{quality}']:.4f}"
            )
            report["versions"] = ours.result["versions"]
    report["full_graph"] = graph_usage(settings)
    write_json(folder / "training.json", report)
    return report


def _part(
    name: str, scratch: Path, settings: Settings, users: int, rows: int, epochs: int
) -> Measured:
    output = scratch / name
    output.mkdir()
    params = {
        "part": name,
        "users": users,
        "items": ITEMS,
        "rows": rows,
        "epochs": epochs,
        "seed": settings.seed,
    }
    return run_training_part(
        "recsys_assets.bench.training.train_models", {}, output, params, scratch, settings
    )


def _against_stock(ours: Measured, stock: Measured, quality: str) -> dict[str, Any]:
    mine, theirs = ours.result["metrics"], stock.result["metrics"]
    return {
        "rows": mine["rows"],
        "rows_s": mine["rows_s"],
        "stock_rows_s": theirs["rows_s"],
        "speedup": round(mine["rows_s"] / theirs["rows_s"], 2),
        quality: mine[quality],
        f"stock_{quality}": theirs[quality],
        "batch_size": mine["batch_size"],
        "stock_batch_size": theirs["batch_size"],
        "peak_gib": ours.peak_gib,
        "stock_peak_gib": stock.peak_gib,
    }


def table_rows(report: dict[str, Any]) -> Sequence[tuple[str, ...]]:
    """Return the printed table.

    Its columns are model, rows/s, stock rows/s, speed-up, quality, stock's, peak GiB.
    """
    return [
        (
            model,
            f"{part['rows_s']:,.0f}",
            f"{part['stock_rows_s']:,.0f}",
            f"{part['speedup']:.1f} ×",
            f"{quality} {part[quality]:.4f}",
            f"{part[f'stock_{quality}']:.4f}",
            f"{part['peak_gib']:.2f}",
        )
        for model, quality in QUALITY.items()
        for part in (report[model],)
    ]
