"""Writes the report of an evaluation: evaluation.json, report.html and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.files import write_json
from recsys_assets.lib.evaluation import html, list_metrics, views
from recsys_assets.lib.evaluation import oracle as truth
from recsys_assets.lib.evaluation import summary as evaluation_summary
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.measures import (
    PRIMARY,
    VALUE_NDCG,
    Estimate,
    EvaluationSummary,
    SliceFigures,
    best_baseline,
)
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.summary import POPULARITY
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.simulator.shop import load_truth

SUMMARY_FILE, PAGE_FILE = "evaluation.json", "report.html"
_QUERIES = "evaluation/queries"


def write_report(
    queries: Artifact,
    offline: Artifact,
    baselines: Artifact,
    oracle: Artifact,
    target: Path,
    *,
    scale: str,
    seed: int,
    ablations: Artifact | None = None,
    landing: str | None = None,
) -> dict[str, Any]:
    """Write the report; return the metrics of its manifest.

    Args:
        queries: ``evaluation/queries``.
        offline: ``evaluation/offline``.
        baselines: ``evaluation/baselines``.
        oracle: ``evaluation/oracle``.
        target: folder of the files.
        scale: of ``summary.scale_of``.
        seed: of the bootstrap.
        ablations: ``evaluation/ablations``; None: not run.
        landing: the landing zone; where it has a truth, the report includes the true click
            probability of the lists.

    Raises:
        ValueError: a part has answered other queries than these.
    """
    for part in (offline, baselines, oracle):
        if not answers(part, queries):
            raise ValueError(
                f"{part.kind} [{part.partition}] has answered other queries than those of "
                f"evaluation/queries {queries.digest[:16]}; materialise it again"
            )
    summary = read_summary(queries, offline, baselines, oracle, ablations, scale, seed, landing)
    write_json(target / SUMMARY_FILE, summary)
    (target / PAGE_FILE).write_text(html.page(summary))
    figures = target / "figures"
    figures.mkdir()
    for name, table in views.tables(summary).items():
        rows = [[views.cell_text(cell) for cell in row] for row in table.rows]
        frame = pl.DataFrame(rows, schema=dict.fromkeys(table.columns, pl.String), orient="row")
        (figures / f"{name}_table.md").write_text(markdown_table(frame))
    for name, figure in views.figures(summary).items():
        (figures / f"{name}.md").write_text(figure.markdown())
    return headline(summary)


def answers(part: Artifact, queries: Artifact) -> bool:
    """Return whether a part was made from these queries, or from none.

    The oracle of a log without a truth is made from none.
    """
    used = [
        one["digest"]
        for role in part.manifest["inputs"].values()
        for one in (role if isinstance(role, list) else [role])
        if isinstance(one, Mapping) and one["kind"] == _QUERIES
    ]
    return all(digest == queries.digest for digest in used)


def read_summary(
    queries: Artifact,
    offline: Artifact,
    baselines: Artifact,
    oracle: Artifact,
    ablations: Artifact | None,
    scale: str,
    seed: int,
    landing: str | None = None,
) -> EvaluationSummary:
    """Return ``evaluation.json`` of these artifacts.

    Ablations of other queries are left out, and a note states it.
    """
    asked, metrics = Queries.read(queries), baselines.metrics
    days = sorted(str(one["partition"]) for one in offline.manifest["inputs"]["features"])
    notes = _notes(queries.metrics)
    if ablations is not None and not answers(ablations, queries):
        ablations = None
        notes.append(
            "The ablations were judged on other queries and are left out; run "
            "evaluation_ablations again."
        )
    overall = asked.overall
    ranks = {name: Lists.read(baselines, name).ranks for name in metrics}
    served = Lists.read(offline, "served").ranks
    differences = {
        name: difference
        for name, own in ranks.items()
        if (difference := list_metrics.overall_difference(served, own, asked, seed)) is not None
    }
    click_rates = (
        _click_rates(
            landing,
            asked,
            {
                "served": offline,
                "retrieval": offline,
                "oracle": oracle,
                **dict.fromkeys(metrics, baselines),
            },
            seed,
        )
        if oracle.metrics["available"] and overall.any()
        else None
    )
    return evaluation_summary.summarise(
        scale,
        str(offline.partition),
        offline.metrics,
        metrics,
        oracle.metrics,
        None if ablations is None else ablations.metrics,
        differences=differences,
        baseline_slices=_baseline_slices(
            {name: ranks[name] for name in _compared(metrics)}, asked, seed
        ),
        queries={**queries.metrics, "days": days},
        notes=notes,
        click_rates=click_rates,
    )


def _click_rates(
    landing: str | None, asked: Queries, systems: Mapping[str, Artifact], seed: int
) -> dict[str, Estimate] | None:
    """Return the mean true click probability of each system's lists; None without a truth."""
    if landing is None or truth.truth_digest(landing) == "none":
        return None
    rates = truth.expected_click_rates(
        load_truth(Path(landing)),
        asked,
        {name: Lists.read(artifact, name).top for name, artifact in systems.items()},
    )
    overall, users = asked.overall, asked.users
    return {
        name: list_metrics.mean_per_user(rate[overall], users[overall], seed)
        for name, rate in rates.items()
    }


def headline(summary: EvaluationSummary) -> dict[str, Any]:
    """Return the figures that the UI plots over as-of days, without those not measured."""
    systems = {
        "served": summary["served"],
        "retrieval": summary["retrieval"],
        "oracle": summary["oracle"],
    }
    shown = {
        name: {metric: own[metric] for metric in (*views.SHOWN, VALUE_NDCG) if metric in own}
        for name, own in systems.items()
        if own
    }
    rates = {
        "share_of_oracle": evaluation_summary.share_of_oracle(summary),
        "ranker_auc": summary["ranker"].get("auc"),
        "ranker_share_of_oracle": summary["ranker"]["share_of_oracle"],
    }
    return {
        **shown,
        "baselines": {
            name: {PRIMARY: part[PRIMARY]}
            for name, part in summary["baselines"].items()
            if part.get(PRIMARY)
        },
        **{name: value for name, value in rates.items() if value is not None},
        **({"best_baseline": summary["best_baseline"]} if summary["best_baseline"] else {}),
        "targets_met": sum(one["met"] is True for one in summary["targets"]),
        "targets": len(summary["targets"]),
    }


def _baseline_slices(
    ranks: Mapping[str, np.ndarray], queries: Queries, seed: int
) -> dict[str, dict[str, SliceFigures]]:
    """Judge the slices of some baselines: slice → baseline → figures."""
    by_slice: dict[str, dict[str, SliceFigures]] = {}
    for name, own in ranks.items():
        for part, found in list_metrics.judge_slices(own, queries, seed).items():
            by_slice.setdefault(part, {})[name] = found
    return by_slice


def _compared(baselines: Mapping[str, Any]) -> list[str]:
    """Return the baselines that slices are compared with: popularity and the best tuned one."""
    best = best_baseline(baselines)
    return [name for name in dict.fromkeys((POPULARITY, best or POPULARITY)) if name in baselines]


def _notes(queries: Mapping[str, Any]) -> list[str]:
    said = []
    if not queries.get("queries", 1):
        said.append(
            "There is no held-out query, so lists have no figures: the validation days have too "
            "few rows. Ingest more days, or set RECSYS_VALIDATION_DAYS higher."
        )
    if queries.get("seen_share"):
        said.append(
            f"{queries['seen_share']:.1%} of the clicks are on an item that the visitor had seen "
            f"before ({queries['seen_rule']}). No list may show it again, so every system misses "
            "these clicks."
        )
    if queries.get("sampled_clicks", 0) < queries.get("clicks", 0):
        said.append(
            f"The queries are {queries['sampled_clicks']:,} of {queries['clicks']:,} clicks, those "
            "of a random part of the visitors; every system answers the same ones."
        )
    if queries.get("cold_users_simulated"):
        said.append(
            f"Only {queries['cold_queries']:,} clicks are of visitors that the training days do "
            "not contain. So cold users are simulated: some queries are asked once more with the "
            "visitor masked as in training. They count in their slice alone."
        )
    return said
