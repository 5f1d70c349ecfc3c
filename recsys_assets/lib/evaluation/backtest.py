"""Compares the generations of several as-of days, each on the days after its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.figures import plots
from recsys_assets.lib.figures.tables import markdown_table

SYSTEMS = ("served", "retrieval", "popularity")
METRICS = ("ndcg@10", "recall@100")


#: Metric → system → its estimates, one per as-of day.
_Series = dict[str, dict[str, list[plots.Estimate]]]


def write_backtest(reports: Sequence[Artifact], target: Path) -> dict[str, Any]:
    """Write quality.parquet, one row per as-of day, and its plots.

    Args:
        reports: ``evaluation/offline`` of as-of days, in their order. A report whose metrics are of
            an older form is left out and named: evaluate its day again.
        target: folder of the files.

    Returns:
        "rows", "days", "left_out"; and of the latest day "auc" and system → metric → estimate.

    Raises:
        ValueError: no report is left.
    """
    usable = [
        report
        for report in reports
        if all(metric in report.metrics.get(system, {}) for system in SYSTEMS for metric in METRICS)
    ]
    left_out = [str(report.partition) for report in reports if report not in usable]
    if not usable:
        raise ValueError(
            f"no evaluation/offline to plot (of an older form: {', '.join(left_out) or 'none'}); "
            "run the job `backtest` for the as-of days"
        )
    days = [str(report.partition) for report in usable]
    series: _Series = {
        metric: {
            system: [report.metrics[system][metric] for report in usable] for system in SYSTEMS
        }
        for metric in METRICS
    }
    # None in a log of clicks alone
    auc: list[float | None] = [report.metrics["ranker"]["auc"] for report in usable]
    queries = [report.metrics["queries"] for report in usable]
    frame = _quality(days, queries, auc, series)
    frame.write_parquet(target / "quality.parquet")
    _write_figures(frame, series, target / "figures")
    return {
        "rows": frame.height,
        "days": days,
        "left_out": left_out,
        "auc": auc[-1],
        **{
            system: {metric: series[metric][system][-1] for metric in METRICS} for system in SYSTEMS
        },
    }


def _quality(
    days: Sequence[str], queries: Sequence[int], auc: Sequence[float | None], series: _Series
) -> pl.DataFrame:
    """Return {as_of, queries, auc, and each system's metrics with their bounds}."""
    table: dict[str, Sequence[object]] = {"as_of": days, "queries": queries, "auc": auc}
    for metric, systems in series.items():
        for system, estimates in systems.items():
            table |= {
                f"{system} {metric}": [one["value"] for one in estimates],
                f"{system} {metric} low": [one["low"] for one in estimates],
                f"{system} {metric} high": [one["high"] for one in estimates],
            }
    return pl.DataFrame(table, schema_overrides={"auc": pl.Float64})


def _write_figures(frame: pl.DataFrame, series: _Series, folder: Path) -> None:
    folder.mkdir()
    labels = [day[5:] for day in frame["as_of"]]
    for metric, name in zip(METRICS, ("nDCG@10", "Recall@100"), strict=True):
        figure = plots.curves(f"{name} by as-of day, 95 % intervals", labels, series[metric])
        (folder / f"{metric}_by_day.md").write_text(figure.markdown())
    if not frame["auc"].null_count():
        (folder / "auc_by_day.md").write_text(
            plots.line_chart("Ranker's AUC by as-of day", frame["auc"].to_list(), labels)
        )
    shown = frame.select(
        name for name in frame.columns if not name.endswith((" low", " high"))
    ).with_columns(pl.col(pl.Float64).round(4))
    (folder / "quality_table.md").write_text(markdown_table(shown))
