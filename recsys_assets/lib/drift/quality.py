"""Judge the served answers of the newest days, and draw them over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recsys_assets.artifacts import Artifact
from recsys_assets.files import write_json
from recsys_assets.lib.drift.answers import AUC, CALIBRATION, MEASURES, NDCG, read_strata
from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.figures.timelines import timeline
from recsys_assets.lib.monitor.estimates import pooled
from recsys_assets.lib.monitor.rolling import DEVIATIONS, Judged, Minimum, Stratum, Tolerance, judge

#: Days that the figure shows, and the family's first days that may be its reference.
SHOWN_DAYS, FIRST_DAYS = 35, 14
QUALITY_FILE, TIMELINE_FIGURE = "quality.json", "figures/by_day.md"


def write_quality(
    days: Sequence[Artifact], minimum: Minimum, tolerances: Mapping[str, Tolerance], target: Path
) -> dict[str, Any]:
    """Judge the last of these days; write the verdicts and a figure; return the metrics.

    Args:
        days: ``monitor/served`` of the judged day and of days before it, oldest first.
        minimum: which windows are judged.
        tolerances: measure → which change is drift.
        target: folder of the files.
    """
    strata = [one for day in days for one in read_strata(day.local, str(day.partition))]
    today = str(days[-1].partition)
    fresh = any(one.day == today for one in strata)
    verdicts = {
        name: told(
            judge(strata, name, minimum, tolerance)
            if fresh
            else Judged(None, f"{today} has no measured answer")
        )
        for name, tolerance in tolerances.items()
    }
    write_json(target / QUALITY_FILE, verdicts)
    figure = target / TIMELINE_FIGURE
    figure.parent.mkdir(exist_ok=True)
    figure.write_text(_figure(strata))
    return {
        "judged": any(one["drifted"] is not None for one in verdicts.values()),
        "drifted": [name for name in MEASURES if name in verdicts and verdicts[name]["drifted"]],
        "verdicts": verdicts,
    }


def compared_days(families: Mapping[str, Sequence[int]]) -> list[str]:
    """Return the days that are read to judge the last one, oldest first.

    These are the newest SHOWN_DAYS, and the FIRST_DAYS of the newest family.

    Args:
        families: day → families that answered on it, the newest last; oldest day first.
    """
    days = [*families]
    newest = next((families[day][-1] for day in reversed(days) if families[day]), None)
    own = [day for day in days if newest in families[day]]
    return sorted({*days[-SHOWN_DAYS:], *own[:FIRST_DAYS]})


def told(judged: Judged) -> dict[str, Any]:
    """Return a verdict as JSON values; bounds are those that decided."""
    found: dict[str, Any] = {
        "drifted": judged.drifted,
        "reason": judged.reason,
        "days": [*judged.days],
        "reference_days": [*judged.reference_days],
    }
    for name, one in (
        ("now", judged.now),
        ("reference", judged.reference),
        ("change", judged.change),
    ):
        if one is not None:
            low, high = one.bounds(DEVIATIONS)
            found[name] = {"value": one.value, **_finite(low, high)}
    return found


def _finite(low: float, high: float) -> dict[str, float]:
    return {} if high == float("inf") else {"low": low, "high": high}


def _figure(strata: Sequence[Stratum]) -> str:
    """Return AUC and nDCG by day as Markdown, with the first day of each release marked."""
    days = sorted({one.day for one in strata})
    series = {
        name: [_of_day([one for one in strata if one.day == day], name) for day in days]
        for name in (AUC, NDCG)
    }
    drawn = {name: values for name, values in series.items() if any(values)}
    if not drawn:
        return "No day has enough answers to draw."
    title = "Served answers by day; dashed: a release began to answer"
    return timeline(title, days, drawn, marks_of(strata)).markdown()


def marks_of(strata: Sequence[Stratum]) -> dict[str, str]:
    """Return day → the releases that began to answer on it; full trainings by name."""
    marks: dict[str, list[str]] = {}
    known: set[int] = set()
    for one in sorted(strata, key=lambda one: (one.day, one.release)):
        if one.release not in known:
            kind = " full" if one.release == one.family else ""
            marks.setdefault(one.day, []).append(f"{one.release}{kind}")
            known.add(one.release)
    return {day: ", ".join(names) for day, names in marks.items()}


def _of_day(strata: Sequence[Stratum], measure: str) -> Estimate | None:
    found = [one.estimates[measure] for one in strata if measure in one.estimates]
    if not found:
        return None
    return pooled([each for each, _ in found], [weight for _, weight in found]).estimate()


def tolerances(
    auc: float, auc_floor: float, ndcg: float, calibration: float
) -> dict[str, Tolerance]:
    """Return measure → tolerance.

    Args:
        auc: fall of the AUC.
        auc_floor: AUC that is always drift if it is surely below; 0: none.
        ndcg: fall of nDCG@10.
        calibration: change of clicks over predicted clicks, as the logarithm of a factor.
    """
    return {
        AUC: Tolerance(auc, floor=auc_floor or None),
        NDCG: Tolerance(ndcg),
        CALIBRATION: Tolerance(calibration, both=True, ratio=True),
    }
