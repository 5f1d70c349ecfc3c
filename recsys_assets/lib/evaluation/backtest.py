"""Quality by as-of day: what each day's generation was worth on the days after its training."""

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


def write_backtest(reports: Sequence[Artifact], target: Path) -> dict[str, Any]:
    """quality.parquet and its plots, a row an as-of day.

    Args:
        reports: ``evaluation/offline`` of as-of days, in their order. One whose metrics are of an
            older form is left out and
            named: its day is to be evaluated again.

    Returns {"days", "left_out", "latest": {system: {metric: estimate}}, "auc" of the latest day}.

    Raises:
        ValueError: none is left.
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
            "run the job `backtest` "
            "for the as-of days"
        )
    days = [str(report.partition) for report in usable]
    series = {
        metric: {
            system: [report.metrics[system][metric] for report in usable] for system in SYSTEMS
        }
        for metric in METRICS
    }
    auc = [report.metrics["ranker"]["auc"] for report in usable]  # None of a log of clicks alone
    table = {"as_of": days, "queries": [report.metrics["queries"] for report in usable], "auc": auc}
    for metric, systems in series.items():
        for system, estimates in systems.items():
            table |= {
                f"{system} {metric}{part}": [one[bound] for one in estimates]
                for bound, part in (("value", ""), ("low", " low"), ("high", " high"))
            }
    frame = pl.DataFrame(table, schema_overrides={"auc": pl.Float64})
    frame.write_parquet(target / "quality.parquet")
    figures = target / "figures"
    figures.mkdir()
    labels = [day[5:] for day in days]
    for metric, name in zip(METRICS, ("nDCG@10", "Recall@100"), strict=True):
        figure = plots.curves(f"{name} by as-of day, 95 % intervals", labels, series[metric])
        (figures / f"{metric}_by_day.md").write_text(figure.markdown())
    if None not in auc:
        (figures / "auc_by_day.md").write_text(
            plots.line_chart("Ranker's AUC by as-of day", auc, labels)
        )
    shown = frame.select(
        name for name in frame.columns if not name.endswith((" low", " high"))
    ).with_columns(pl.col(pl.Float64).round(4))
    (figures / "quality_table.md").write_text(markdown_table(shown))
    return {
        "rows": frame.height,
        "days": days,
        "left_out": left_out,
        "auc": auc[-1],
        **{
            system: {metric: series[metric][system][-1] for metric in METRICS} for system in SYSTEMS
        },
    }
