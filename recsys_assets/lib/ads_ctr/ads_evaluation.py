"""Judge the ads ranker beside its baselines: AUC, log loss and calibration, whole and by slice."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.ads_columns import CATEGORIES
from recsys_assets.artifacts import Artifact
from recsys_assets.columns import NULL_INDEX
from recsys_assets.files import write_text
from recsys_assets.lib.ads_ctr.ads_baselines import BASELINES, tuned
from recsys_assets.lib.ads_ctr.ads_datasets import PackedAds
from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.evaluation.paired_auc import auc_difference, auc_parts
from recsys_assets.lib.evaluation.ranker_metrics import auc, one_class, ranking_metrics, reliability
from recsys_assets.lib.figures import plots
from recsys_assets.release_files import VALID_SCORES

MODEL, ORACLE = "dcn", "oracle"
#: Parts of the validation rows in order of time.
TIMES = 6
#: Most frequent values of a category that are segments.
SEGMENTS = 5
_NORMAL = 1.959964  # 97.5 % quantile


def auc_estimate(labels: np.ndarray, scores: np.ndarray) -> Estimate:
    """Return the AUC with its 95 % interval, by the variance of its parts (DeLong et al. 1988)."""
    value = auc(labels, scores)
    half = _NORMAL * math.sqrt(float((auc_parts(labels, scores) ** 2).sum()))
    return {"value": value, "low": value - half, "high": value + half}


def judge(
    datasets: Artifact,
    workflow: Artifact,
    dcn: Artifact,
    truth: np.ndarray | None,
    target: Path,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Judge a trained network on its validation rows; see ``write_evaluation``."""
    return write_evaluation(
        PackedAds.read(datasets, "train"),
        PackedAds.read(datasets, "valid"),
        np.load(dcn.path(VALID_SCORES), allow_pickle=False),
        truth,
        workflow.metrics["cardinality"],
        target,
        log,
    )


def write_evaluation(
    train: PackedAds,
    valid: PackedAds,
    scores: np.ndarray,
    truth: np.ndarray | None,
    cardinality: Mapping[str, int],
    target: Path,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Fit the baselines, judge all systems on the validation rows, and draw the figures.

    Args:
        train: training rows.
        valid: validation rows.
        scores: of the network, [N].
        truth: click probabilities where the ads are simulated.
        cardinality: rows of each category's table, which decides the segments.
        target: folder of the artifact.
        log: gets a line per baseline.

    Returns:
        Metrics: systems (AUC with interval, log loss, calibration error), the network's difference
        from each baseline, AUC by time and by segment.
    """
    systems: dict[str, np.ndarray] = {MODEL: np.asarray(scores, np.float64)}
    settings = {}
    for name, (choices, fit) in BASELINES.items():
        found = tuned(choices, fit, train)
        systems[name], settings[name] = found.score(valid), found.setting
        log(f"{name}: {found.setting}, AUC {auc(valid.label, systems[name]):.4f}")
    if truth is not None:
        systems[ORACLE] = truth
    rows = np.arange(len(valid))
    label = np.asarray(valid.label)
    intervals = {name: auc_estimate(label, one) for name, one in systems.items()}
    found_of = {
        name: {**ranking_metrics(label, one), "auc": intervals[name]}
        for name, one in systems.items()
    }
    by_time = _by_time(label, systems[MODEL])
    write_text(
        target / "figures/calibration.md",
        plots.reliability_chart("Calibration on the validation day", _bins(label, scores)),
    )
    write_text(target / "figures/auc.md", plots.interval_plot("AUC", {"AUC": intervals}).markdown())
    return {
        "systems": found_of,
        "settings": settings,
        "above": {
            name: auc_difference(label, systems[MODEL], systems[name], rows) for name in BASELINES
        },
        "of_oracle_lift": (
            None
            if truth is None
            else (auc(label, scores) - 0.5) / (auc(label, np.asarray(truth)) - 0.5)
        ),
        "by_time": by_time,
        "by_segment": _by_segment(valid, systems[MODEL], cardinality),
        "rows": len(valid),
        "clicks": int(label.sum()),
    }


def _bins(label: np.ndarray, scores: np.ndarray) -> list[dict[str, float]]:
    """Return the reliability table as plain mappings."""
    return [
        {"predicted": one["predicted"], "observed": one["observed"], "rows": float(one["rows"])}
        for one in reliability(label, scores)
    ]


def _by_time(label: np.ndarray, scores: np.ndarray) -> list[float | None]:
    """Return the AUC of each part of the day; None where a part has one class."""
    parts = np.array_split(np.arange(len(label)), TIMES)
    return [None if one_class(label[part]) else auc(label[part], scores[part]) for part in parts]


def _by_segment(
    valid: PackedAds, scores: np.ndarray, cardinality: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Return the AUC, rows and click rate of the values of the category with fewest values."""
    name = min(CATEGORIES, key=lambda one: cardinality[one])
    column, label = valid.cat[:, CATEGORIES.index(name)], np.asarray(valid.label)
    values, counts = np.unique(column, return_counts=True)
    found = {}
    for value in values[np.argsort(-counts)][:SEGMENTS]:
        part = column == value
        if not one_class(label[part]):
            title = f"{name} empty" if value == NULL_INDEX else f"{name} index {value}"
            found[title] = {
                "auc": auc(label[part], scores[part]),
                "rows": float(part.sum()),
                "click_rate": float(label[part].mean()),
            }
    return found
