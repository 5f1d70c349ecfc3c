"""From artifact to artifact: what the exported models are worth on days they have not seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.files import write_json
from recsys_assets.lib.evaluation import list_metrics, ranker_metrics
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.list_metrics import SameForAll
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.figures import plots
from recsys_assets.lib.figures.tables import markdown_table

#: What the UI plots over the as-of days; the slices are in the artifact's metrics and in a figure.
HEADLINE = (
    "rows",
    "clicks",
    "queries",
    "items",
    "served",
    "retrieval",
    "popularity",
    "ranker",
    "beyond_accuracy",
)


def measure(
    generation: Generation, queries: Queries, exposures: pl.DataFrame, seed: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Judge a generation on queries and on exposures.

    Args:
        exposures: INTERACTION_FEATURES of the validation days, clicked or not.

    Returns:
        metrics {"served", "retrieval", "slices", "slices_retrieval", "beyond_accuracy", "ranker",
        …}, and the lists as ``lists.npz`` has them: {served,retrieval}_ranks and _top.
    """
    content = content_vectors(generation, queries)
    metrics: dict[str, Any] = {"beyond_accuracy": {}}
    arrays: dict[str, np.ndarray] = {}
    for name, slices, system in (
        ("served", "slices", generation.served),
        ("retrieval", "slices_retrieval", generation.retrieval),
    ):
        lists = list_metrics.run(system, queries)
        arrays |= lists.arrays(name)
        metrics[name] = list_metrics.judge(lists.ranks, queries, seed)
        metrics[slices] = list_metrics.judge_slices(lists.ranks, queries, seed)
        metrics["beyond_accuracy"][name] = list_metrics.beyond_accuracy(
            lists.top[queries.overall], queries.clicks, content
        )
    scores, clicked = generation.click_scores(exposures), exposures[c.CLICK].to_numpy()
    reliability = (
        [] if ranker_metrics.clicks_alone(clicked) else ranker_metrics.reliability(clicked, scores)
    )
    metrics["ranker"] = {
        **ranker_metrics.ranking_metrics(clicked, scores),
        "reliability": reliability,
    }
    return metrics, arrays


def content_vectors(generation: Generation, queries: Queries) -> np.ndarray:
    """Text and image embeddings of the catalogue, float32 [I, 128], in its order; zeros for what
    the generation lacks.
    """
    row = {item: n for n, item in enumerate(generation.item_ids.tolist())}
    own = np.array([row.get(item, -1) for item in queries.item_ids.tolist()])
    return np.where(own[:, None] >= 0, generation.table[generation.index[own]], 0.0).astype(
        np.float32
    )


def write_report(
    queries: Artifact,
    features: Sequence[Artifact],
    days_before: Sequence[Artifact],
    models: Artifact,
    vectors: Artifact,
    aligned: Artifact,
    workflows: Artifact,
    target: Path,
    seed: int,
    retrieval_topk: int,
    retrieval_weight: float,
) -> dict[str, Any]:
    """metrics.json, lists.npz, tables and plots; the returned metrics are those of the file.

    features: ``features/interactions`` of the validation days; days_before: of the day before each
    of them.
    """
    asked = Queries.read(queries)
    exposures = pl.concat(
        [pl.read_parquet(artifact.path("features.parquet")) for artifact in features]
    )
    generation = Generation.of_training(
        models=models,
        workflows=workflows,
        aligned=aligned,
        vectors=vectors,
        days_before=days_before,
        retrieval_topk=retrieval_topk,
        retrieval_weight=retrieval_weight,
    )
    metrics, arrays = measure(generation, asked, exposures, seed)
    popular = list_metrics.run(SameForAll("popularity", asked.clicks), asked)
    metrics |= {
        "rows": exposures.height,
        "clicks": asked.counts["clicks"],
        "queries": int(asked.overall.sum()),
        "items": asked.items,
        "seen_share": asked.counts["seen_share"],
        "cold_users_simulated": asked.counts["cold_users_simulated"],
        "popularity": list_metrics.judge(popular.ranks, asked, seed),
        "random": list_metrics.estimates(list_metrics.random_metrics(asked.items)),
    }
    np.savez(target / "lists.npz", allow_pickle=False, **arrays)
    write_json(target / "metrics.json", metrics)
    figures = target / "figures"
    figures.mkdir()
    (figures / "lists_table.md").write_text(
        markdown_table(
            _table(
                {name: metrics[name] for name in ("served", "retrieval", "popularity", "random")},
                "system",
            )
        )
    )
    (figures / "slices_table.md").write_text(markdown_table(_table(metrics["slices"], "slice")))
    (figures / "recall@100.md").write_text(
        plots.bar_chart(
            "Recall@100, whole catalogue, validation days",
            {
                name: metrics[name]["recall@100"]["value"]
                for name in ("served", "retrieval", "popularity", "random")
            },
        )
    )
    if table := metrics["ranker"]["reliability"]:
        (figures / "reliability.md").write_text(
            plots.reliability_chart("Ranker: predicted and observed click rate", table)
        )
    return metrics


def _table(rows: Mapping[str, Mapping[str, Any]], what: str) -> pl.DataFrame:
    """One row a system or slice: value [low, high] of each metric."""
    return pl.DataFrame(
        [
            {
                what: name,
                **({"queries": of["queries"]} if "queries" in of else {}),
                **{
                    metric: f"{of[metric]['value']:.4f} [{of[metric]['low']:.4f}, "
                    f"{of[metric]['high']:.4f}]"
                    for metric in list_metrics.METRICS
                },
            }
            for name, of in rows.items()
        ]
    )


def read_metrics(report: Artifact) -> dict[str, Any]:
    return json.loads(report.path("metrics.json").read_text())
