"""Judges the releases of the ads ranker, by the rules of ``gates``.

What is wrong blocks: a figure that is missing, scores that differ between TensorFlow and
onnxruntime, transforms that differ from NVTabular's. What is only unusual warns, and blocks over a
champion that is surely better on the same rows.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

from recsys_assets.lib.evaluation.measures import Estimate, RankerFigures
from recsys_assets.lib.gates.checks import compared, fact, is_number, no_worse, too_few
from recsys_assets.lib.gates.gates import by_group
from recsys_assets.lib.gates.limits import Limits
from recsys_assets.lib.gates.statistical import above_chance
from recsys_assets.lib.release.verdict import Check, Verdict, verdict_of

#: Group of checks → its description. Each group is a check of the release in Dagster.
ADS_GROUPS = {
    "auc": "AUC on the validation rows is above what chance gives at that size. Warns otherwise; a "
    "missing figure blocks.",
    "calibration": "The mean gap between predicted and observed click rate is at most a tenth of "
    "the click rate, and what chance gives. Warns otherwise.",
    "baselines": "Surely worse than no baseline. Warns otherwise.",
    "champion": "AUC is not surely below the champion's on the same rows by more than the "
    "tolerance. Blocks otherwise.",
    "exports": "ONNX scores equal TensorFlow's, the compiled transforms equal NVTabular's. Blocks "
    "otherwise.",
}
#: Of an incremental training, which keeps the workflow and fits no baselines.
ADS_TUNED_GROUPS = tuple(name for name in ADS_GROUPS if name != "baselines")
#: Error of the calibration that is accepted, as a share of the click rate.
CALIBRATED = 0.1


def ads_release(
    metrics: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    parity_differences: int,
    champion: Estimate | None,
    limits: Limits = Limits(),
) -> Verdict:
    """Judge a full training.

    Args:
        metrics: of ``ads_ctr/dcn``.
        evaluation: metrics of ``ads_ctr/evaluation``.
        parity_differences: values in which the compiled transforms differ from NVTabular's.
        champion: AUC − the champion's on the same rows; None: there is no champion.
        limits: of the checks.
    """
    checks = [
        *_of_model(metrics, champion, limits),
        _calibration(evaluation["systems"]["dcn"], limits),
        *(
            no_worse(f"baselines: AUC − {name}", found, 0.0, blocks=False)
            for name, found in evaluation["above"].items()
        ),
        compared("exports: values that differ", parity_differences, operator.le, 0),
    ]
    return verdict_of(checks)


def ads_tuned(
    metrics: Mapping[str, Any],
    figures: RankerFigures,
    champion: Estimate | None,
    limits: Limits = Limits(),
) -> Verdict:
    """Judge an incremental training on its held-out rows.

    Args:
        metrics: of ``ads_ctr/tuned_dcn``.
        figures: of its scores of the held-out rows.
        champion: AUC − the champion's on the same rows; None: there is no champion, which fails.
        limits: of the checks.
    """
    checks = [*_of_model(metrics, champion, limits), _calibration(figures, limits)]
    if champion is None:
        checks.append(
            fact("champion: the one it started from", "missing", "a champion", passed=False)
        )
    return verdict_of(checks)


def by_ads_group(verdict: Verdict) -> dict[str, list[Check]]:
    """Return the checks of each group of ADS_GROUPS; one without a check passes."""
    found = by_group(verdict)
    nothing = {
        "champion": fact("champion: AUC", "there is none to compare with", None, blocks=False)
    }
    return {name: found.get(name) or [nothing[name]] for name in (*found, *nothing)}


def _of_model(metrics: Mapping[str, Any], champion: Estimate | None, limits: Limits) -> list[Check]:
    """Return the checks of a network that both kinds of release have."""
    judged = above_chance(
        metrics.get("auc"), metrics.get("validation_clicks"), metrics["validation_rows"], limits
    )
    compared_with = (
        []
        if champion is None
        else [no_worse("champion: AUC − the champion's", champion, limits.auc_tolerance)]
    )
    return [
        {**judged, "name": "auc: on the validation rows"},
        *compared_with,
        compared(
            "exports: parity of the network",
            metrics.get("onnx_difference"),
            operator.le,
            limits.parity,
        ),
    ]


def _calibration(figures: RankerFigures, limits: Limits) -> Check:
    """Return the check of the calibration error."""
    name, rate, rows = "calibration: mean gap", figures["click_rate"], figures["rows"]
    if not is_number(rate):
        return fact(name, None, "a click rate", passed=False)
    if rows < limits.minimum_rows or figures["calibration_error"] is None:
        return too_few(name, f"{rows} rows with a click rate of {rate:.3f}", limits.minimum_rows)
    # ten bins of equal size: chance moves the click rate of each by about one deviation
    chance = math.sqrt(rate * (1 - rate) * 10 / rows)
    allowed = CALIBRATED * rate + chance
    return compared(name, figures["calibration_error"], operator.le, allowed, blocks=False)
