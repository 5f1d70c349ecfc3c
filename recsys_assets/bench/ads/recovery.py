"""Measure what one incremental training gives back after an abrupt change of the truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.ads_columns import LABEL
from recsys_assets.bench.ads import quality
from recsys_assets.bench.harness.part import run_training_part
from recsys_assets.files import write_json
from recsys_assets.lib.ads_ctr.ads_transforms import AdsTransforms
from recsys_assets.lib.ads_ctr.ads_truth import AdsDrift, AdsTruth
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day
from recsys_assets.release_files import ADS_CONSUMED, ADS_TRANSFORMS
from recsys_assets.settings import Settings

Say = Callable[[str], None]
#: Rows of the day that the base learns, at most; labelled rows after the change; rows that judge.
BASE_ROWS, NEW_ROWS, JUDGED_ROWS = 100_000, 20_000, 40_000
_STEPS = "recsys_assets.training.ads_ctr"


def measure_recovery(settings: Settings, scratch: Path, say: Say, rows: int) -> dict[str, Any]:
    """Train a base, change the truth, train the base on, and train a new network on the same rows.

    Args:
        settings: of the home.
        scratch: folder for everything.
        say: receives a line per step.
        rows: shown ads that the base learns.

    Returns:
        Figures ``drift.auc_*`` on rows after the change: of the base, of the incremental training,
        of the new network, and the difference of the two.

    Raises:
        BenchFailed: a step failed.
    """
    made = quality.prepare(settings, scratch, say, min(rows, BASE_ROWS))
    workflow, changed = str(made["workflow"]), scratch / "changed"
    _write_changed(made["workflow"], changed, settings.seed)

    def step(name: str, module: str, inputs: dict[str, str]) -> tuple[Path, dict[str, Any]]:
        output = scratch / name
        output.mkdir()
        given = {"seed": settings.seed}
        done = run_training_part(f"{_STEPS}.{module}", inputs, output, given, scratch, settings)
        metrics: dict[str, Any] = done.result["metrics"]
        say(f"{name}: AUC {metrics['auc']:.4f}")
        return output, metrics

    base, _ = step("base", "train_dcn", {"workflow": workflow, "datasets": str(made["datasets"])})
    _, tuned = step("tuned", "tune_dcn", {"base": str(base), "rows": str(changed)})
    _, fresh = step("fresh", "train_dcn", {"workflow": workflow, "datasets": str(changed)})
    return {
        "drift.auc_of_base": round(tuned["auc_before"], 4),
        "drift.auc_of_tuned": round(tuned["auc"], 4),
        "drift.auc_of_fresh": round(fresh["auc"], 4),
        "drift.auc_recovered": round(tuned["auc"] - fresh["auc"], 4),
    }


def _write_changed(workflow: Path, target: Path, seed: int) -> None:
    """Write rows after an abrupt change as the training steps read them."""
    target.mkdir()
    day = simulate_day(AdsTruth(seed, AdsDrift("abrupt", at=2)), 2, NEW_ROWS + JUDGED_ROWS).rows
    transforms = AdsTransforms.read(workflow / ADS_TRANSFORMS)
    for split, part in (("train", day.head(NEW_ROWS)), ("valid", day.tail(JUDGED_ROWS))):
        cat, cont = transforms.of_frame(part)
        np.save(target / f"{split}_cat.npy", cat)
        np.save(target / f"{split}_cont.npy", cont)
        np.save(target / f"{split}_label.npy", part[LABEL].to_numpy().astype(np.int8))
    write_json(target / ADS_CONSUMED, {"consumed_to": 0.0})
