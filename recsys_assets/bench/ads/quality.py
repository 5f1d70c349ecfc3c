"""Measure the ads graph on simulated days: seconds and memory of each step, parity, and quality.

Every step runs in a process of its own, as Dagster's Pipes run it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.ads_columns import INTEGERS
from recsys_assets.bench.harness.part import BenchFailed, run_part, run_training_part
from recsys_assets.files import read_json
from recsys_assets.lib.ads_ctr.ads_evaluation import MODEL, ORACLE
from recsys_assets.lib.ads_ctr.ads_landing import PROBABILITY
from recsys_assets.lib.ads_ctr.ads_transforms import AdsTransforms
from recsys_assets.lib.ads_ctr.ads_truth import AdsTruth
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day
from recsys_assets.release_files import ADS_FILE, ADS_TRANSFORMS
from recsys_assets.settings import Settings

Say = Callable[[str], None]
#: Shown ads of each of the two days.
ROWS = 1_000_000
TRUTH_FILE = "truth.parquet"
STEPS = "recsys_assets.training.ads_ctr"
#: Key of a figure → system of the evaluation.
SYSTEMS = {
    "dcn": MODEL,
    "lr": "logistic_regression",
    "fm": "factorization_machine",
    "gbm": "boosted_trees",
    "oracle": ORACLE,
}


def measure_quality(
    settings: Settings,
    scratch: Path,
    say: Say,
    rows: int = ROWS,
    params: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train on one simulated day and judge on the next.

    Args:
        settings: of the home.
        scratch: folder for everything.
        say: receives a line per step.
        rows: shown ads of each day.
        params: of the network, where they are not the defaults.

    Returns:
        Figures: ``quality.auc_*``, ``quality.of_oracle_lift``, ``parity.differences``, and seconds
        and peak GiB of each step.

    Raises:
        BenchFailed: a step failed.
    """
    figures: dict[str, Any] = {"rows": rows}
    runs = _Runs(settings, scratch, say, figures)
    made = prepare(settings, scratch, say, rows, figures)
    inputs = {name: made[name] for name in ("datasets", "workflow")}
    made["dcn"], metrics = runs.step("dcn", "train_dcn", inputs, params or {})
    figures["training.epochs"] = metrics["epochs"]
    valid = made["valid"]
    figures["parity.differences"] = _differences(valid, made["workflow"], made["datasets"])
    say(f"parity: {figures['parity.differences']} values differ of {rows:,} rows")
    begin = time.monotonic()
    request = {name: str(made[name]) for name in ("workflow", "datasets", "dcn")}
    judged = run_part(
        "recsys_assets.bench.ads.judge_process",
        {**request, "truth": str(valid / TRUTH_FILE), "output": str(scratch / "evaluation")},
        scratch,
        settings,
    )
    runs.note("evaluation", begin, judged.peak_gib)
    found = judged.result
    for key, system in SYSTEMS.items():
        figures[f"quality.auc_{key}"] = round(found["systems"][system]["auc"]["value"], 5)
    figures["quality.of_oracle_lift"] = round(found["of_oracle_lift"], 4)
    figures["quality.calibration_error"] = round(found["systems"][MODEL]["calibration_error"], 5)
    figures["quality.above"] = {
        name: [round(one[part], 5) for part in ("low", "value", "high")]
        for name, one in found["above"].items()
    }
    figures["quality.settings"] = found["settings"]
    return figures


def prepare(
    settings: Settings, scratch: Path, say: Say, rows: int, figures: dict[str, Any] | None = None
) -> dict[str, Path]:
    """Simulate two days, fit the workflow on the first and transform both.

    Args:
        settings: of the home.
        scratch: folder for everything.
        say: receives a line per step.
        rows: shown ads of each day.
        figures: receives seconds and peak GiB of each step.

    Returns:
        Folders: train, valid, workflow and datasets.
    """
    runs = _Runs(settings, scratch, say, {} if figures is None else figures)
    train, valid = (_simulate(scratch / f"day-{n}", n, rows, settings.seed) for n in (0, 1))
    workflow, _ = runs.step("workflow", "fit_workflow", {"train": [train]}, {})
    inputs: dict[str, Any] = {"workflow": workflow, "train": [train], "valid": [valid]}
    datasets, _ = runs.step("datasets", "make_datasets", inputs, {})
    return {"train": train, "valid": valid, "workflow": workflow, "datasets": datasets}


@dataclass(frozen=True)
class _Runs:
    """Runs training steps and notes what they cost."""

    settings: Settings
    scratch: Path
    say: Say
    figures: dict[str, Any]

    def step(
        self, name: str, module: str, inputs: dict[str, Any], params: dict[str, Any]
    ) -> tuple[Path, dict[str, Any]]:
        """Run a step; return its folder and its metrics."""
        output = self.scratch / name
        output.mkdir()
        texts = {
            role: [*map(str, value)] if isinstance(value, list) else str(value)
            for role, value in inputs.items()
        }
        begin = time.monotonic()
        given = {"seed": self.settings.seed, **params}
        done = run_training_part(
            f"{STEPS}.{module}", texts, output, given, self.scratch, self.settings
        )
        self.note(name, begin, done.peak_gib)
        return output, done.result["metrics"]

    def note(self, name: str, begin: float, peak_gib: float) -> None:
        """Note seconds and memory of a step."""
        seconds = round(time.monotonic() - begin, 1)
        self.figures[f"steps.{name}_seconds"] = seconds
        self.figures[f"steps.{name}_peak_gib"] = peak_gib
        self.say(f"{name}: {seconds} s, {peak_gib:.2f} GiB")


def _simulate(folder: Path, number: int, rows: int, seed: int) -> Path:
    """Write a simulated day with its truth; return its folder."""
    folder.mkdir(parents=True)
    day = simulate_day(AdsTruth(seed), number, rows)
    day.rows.write_parquet(folder / ADS_FILE)
    pl.DataFrame({PROBABILITY: day.probability}).write_parquet(folder / TRUTH_FILE)
    return folder


def _differences(day: Path, workflow: Path, datasets: Path) -> int:
    """Return the values in which NVTabular and the compiled transforms differ in any bit."""
    transforms = AdsTransforms.from_dict(read_json(workflow / ADS_TRANSFORMS))
    cat, cont = transforms.of_frame(pl.read_parquet(day / ADS_FILE))
    theirs = [np.load(datasets / f"valid_{name}.npy", mmap_mode="r") for name in ("cat", "cont")]
    if theirs[0].shape != cat.shape or cont.shape[1] != len(INTEGERS):
        raise BenchFailed(f"NVTabular wrote {theirs[0].shape}, the day has {cat.shape}")
    apart = (cat != theirs[0]).sum() + (cont.view(np.int32) != theirs[1].view(np.int32)).sum()
    return int(apart)
