"""Judge the served predictions of a day by their labels, per release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import polars as pl

from recsys_assets.ads_columns import LABEL
from recsys_assets.artifacts import ArtifactMissing, ArtifactStore
from recsys_assets.files import write_text
from recsys_assets.lib.ads_ctr.ads_evaluation import auc_estimate
from recsys_assets.lib.ads_ctr.ads_watch import AdsWatch, WatchRules
from recsys_assets.lib.ads_ctr.feedback import SETTLED_AT
from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.evaluation.ranker_metrics import one_class, ranking_metrics
from recsys_assets.lib.figures.streams import stream_figure
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.landing.ads_predictions import PREDICTION_ID, RELEASE, SCORE
from recsys_assets.lib.monitor.rolling_auc import rolling_aucs
from recsys_assets.lib.release.champion import read_champion
from recsys_assets.lib.release.lines import ADS
from recsys_assets.lib.release.releases import open_release
from recsys_assets.settings import Settings

_TITLE = "Rolling AUC over the labelled predictions"


class ReleaseFigures(TypedDict):
    """Holds how the predictions of a release did."""

    labelled: int
    click_rate: float
    auc: Estimate | None  # None: all labels are equal
    log_loss: float | None
    calibration_error: float | None
    threshold: float | None  # of the rolling AUC; None: it is not watched
    lowest_rolling_auc: float | None
    alarms: list[str]


class QualityFigures(TypedDict):
    """Holds the metrics of ``ads_ctr/quality``."""

    labelled: int
    waiting: int
    alarms: int
    promotions: int  # of the ads ranker, while the day's predictions were settled
    releases: dict[str, ReleaseFigures]  # by number


@dataclass(frozen=True)
class Promotion:
    """A change of the champion, from champion.json."""

    at: float
    text: str


def rules_of(
    store: ArtifactStore, settings: Settings, numbers: Sequence[int]
) -> dict[int, WatchRules]:
    """Return the rules of each of these releases; one that was deleted has no figures."""
    found = {}
    for number in numbers:
        metrics: Mapping[str, Any] = {}
        try:
            metrics = open_release(store, number, ADS).metrics
        except ArtifactMissing:
            pass
        found[number] = WatchRules.of(settings, metrics.get("auc"), metrics.get("click_rate"))
    return found


def promotions(settings: Settings) -> list[Promotion]:
    """Return the changes of the champion, oldest first."""
    champion = read_champion(settings, ADS)
    history = champion.history if champion else []
    return [Promotion(float(one["at"]), f"{one['event']} {one['release']}") for one in history]


def write_quality(
    rows: pl.DataFrame,
    waiting: int,
    rules: Mapping[int, WatchRules],
    changes: Sequence[Promotion],
    target: Path,
) -> QualityFigures:
    """Replay the rows of a day, and draw the rolling AUC with its alarms and promotions.

    Each release begins with an empty window, so that a day depends on no day before.

    Args:
        rows: of ``read_feedback``, in the order of settling.
        waiting: predictions without a settled label.
        rules: of each release that scored.
        changes: of the champion.
        target: folder of the artifact.
    """
    found: dict[str, ReleaseFigures] = {}
    series, marks = dict[str, tuple[np.ndarray, np.ndarray]](), list[tuple[int, str]]()
    rows = rows.sort(SETTLED_AT, PREDICTION_ID)  # as the watch reads them
    numbered = rows.with_row_index("row", 1)
    for (number,), part in numbered.group_by(RELEASE, maintain_order=True):
        release = int(str(number))
        one = rules[release]
        scores, labels = part[SCORE].to_numpy(), part[LABEL].to_numpy()
        rolling = rolling_aucs(scores, labels, one.window, one.least)
        at = part["row"].to_numpy().astype(np.int64)
        alarms = AdsWatch(release, one).update(part)
        marks += [(int(at[alarm.prediction - 1]), alarm.monitor) for alarm in alarms]
        series[f"release {release}"] = at, rolling
        figures = ranking_metrics(labels, scores)
        known = rolling[np.isfinite(rolling)]
        found[str(release)] = {
            "labelled": part.height,
            "click_rate": float(labels.mean()),
            "auc": None if one_class(labels) else auc_estimate(labels, scores),
            "log_loss": figures["log_loss"],
            "calibration_error": figures["calibration_error"],
            "threshold": one.threshold,
            "lowest_rolling_auc": float(known.min()) if known.size else None,
            "alarms": [str(alarm) for alarm in alarms],
        }
    within = _within(rows, changes)
    if any(np.isfinite(values).any() for _, values in series.values()):
        limits = {one.threshold for one in rules.values() if one.threshold is not None}
        figure = stream_figure(
            _TITLE,
            series,
            rows.height,
            [*marks, *within],
            # several releases have thresholds of their own, which the table shows
            limits.pop() if len(limits) == 1 else None,
        )
        write_text(target / "figures/rolling_auc.md", figure.markdown())
    write_text(target / "figures/releases.md", _table(found))
    return {
        "labelled": rows.height,
        "waiting": waiting,
        "alarms": sum(len(one["alarms"]) for one in found.values()),
        "promotions": len(within),
        "releases": found,
    }


def _within(rows: pl.DataFrame, changes: Sequence[Promotion]) -> list[tuple[int, str]]:
    """Return row and text of the changes between the first and the last settled row."""
    times = rows[SETTLED_AT].to_numpy()
    return [
        (int(np.searchsorted(times, one.at)) + 1, one.text)
        for one in changes
        if len(times) and times[0] <= one.at <= times[-1]
    ]


def _table(found: Mapping[str, ReleaseFigures]) -> str:
    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    def of(auc: Estimate | None) -> str:
        return "–" if auc is None else f"{auc['value']:.4f} [{auc['low']:.4f}, {auc['high']:.4f}]"

    table = {
        "release": [*found],
        "labelled": [f"{one['labelled']:,}" for one in found.values()],
        "click rate": [shown(one["click_rate"]) for one in found.values()],
        "AUC": [of(one["auc"]) for one in found.values()],
        "log loss": [shown(one["log_loss"]) for one in found.values()],
        "calibration error": [shown(one["calibration_error"]) for one in found.values()],
        "threshold": [shown(one["threshold"]) for one in found.values()],
        "alarms": [str(len(one["alarms"])) for one in found.values()],
    }
    return markdown_table(pl.DataFrame(table, schema=dict.fromkeys(table, pl.String())))
