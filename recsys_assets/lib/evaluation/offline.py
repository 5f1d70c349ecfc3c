"""Judges the exported models on the validation days, from artifact to artifact."""

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
from recsys_assets.lib.evaluation import (
    dismissals,
    list_metrics,
    ranker_metrics,
    session_figures,
    session_moves,
)
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.item_rows import rows_in
from recsys_assets.lib.evaluation.list_metrics import Lists, SameForAll
from recsys_assets.lib.evaluation.measures import (
    DISMISSED_AT,
    VALUE_NDCG,
    GenerationFigures,
    OfflineFigures,
)
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.query_sources import QuerySources
from recsys_assets.lib.figures import plots
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.ranking.places import NewItemPlaces

#: Metrics that the UI plots over as-of days. The slices are in the artifact's metrics and a figure.
HEADLINE = (
    "rows",
    "clicks",
    "queries",
    "items",
    "served",
    "retrieval",
    "popularity",
    "retrieval_minus_popularity",
    "ranker",
    "beyond_accuracy",
)


#: The lists of both models alone, without other sources.
MODELS = "models"


def measure(
    generation: Generation, queries: Queries, exposures: pl.DataFrame, seed: int
) -> tuple[GenerationFigures, dict[str, np.ndarray]]:
    """Judge a generation on queries and on exposures.

    Args:
        generation: the models.
        queries: of the validation days.
        exposures: INTERACTION_FEATURES of the validation days, clicked or not.
        seed: of the bootstrap.

    Returns:
        the figures, and the lists under their names in ``lists.npz``: {served,retrieval}_ranks and
        _top.
    """
    content = content_vectors(generation, queries)
    served = list_metrics.run(generation.served, queries)
    retrieval = list_metrics.run(generation.retrieval, queries)
    scores, clicked = generation.click_scores(exposures), exposures[c.CLICK].to_numpy()
    reliability = (
        [] if ranker_metrics.one_class(clicked) else ranker_metrics.reliability(clicked, scores)
    )
    figures: GenerationFigures = {
        "beyond_accuracy": {
            name: list_metrics.beyond_accuracy(lists.top[queries.overall], queries.clicks, content)
            for name, lists in (("served", served), ("retrieval", retrieval))
        },
        "served": dismissals.judge(served, queries, seed),
        "slices": list_metrics.judge_slices(served.ranks, queries, seed),
        "retrieval": dismissals.judge(retrieval, queries, seed),
        "slices_retrieval": list_metrics.judge_slices(retrieval.ranks, queries, seed),
        "ranker": {**ranker_metrics.ranking_metrics(clicked, scores), "reliability": reliability},
    }
    return figures, {**served.arrays("served"), **retrieval.arrays("retrieval")}


def content_vectors(generation: Generation, queries: Queries) -> np.ndarray:
    """Return text and image embeddings of the catalogue in its order, float32 [I, 128].

    Items that the generation lacks have zeros.
    """
    own = rows_in(queries.item_ids, generation.item_ids)
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
    sources: QuerySources | None = None,
    places: NewItemPlaces | None = None,
) -> OfflineFigures:
    """Write metrics.json, lists.npz, tables and plots; return the content of metrics.json.

    Args:
        queries: ``evaluation/queries``.
        features: ``features/interactions`` of the validation days.
        days_before: ``features/interactions`` of the day before each validation day.
        models: ``exports/onnx``.
        vectors: ``retrieval/item_vectors``.
        aligned: ``embeddings/aligned``.
        workflows: ``features/workflows``.
        target: folder of the files.
        seed: of the bootstrap.
        retrieval_topk: candidates of the first stage.
        retrieval_weight: of the blend that orders the list.
        sources: what else finds candidates; None: retrieval alone.
        places: of the served lists, for new items; None: none.
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
        sources=sources,
        places=places,
    )
    judged, arrays = measure(generation, asked, exposures, seed)
    alone = Lists(arrays["served_ranks"], arrays["served_top"])
    if sources is not None or places is not None:
        alone = list_metrics.run(generation.without_sources().served, asked)
    arrays |= alone.arrays(MODELS)
    popular = list_metrics.run(SameForAll("popularity", asked.clicks), asked)
    whole = asked.overall
    metrics: OfflineFigures = {
        **judged,
        "rows": exposures.height,
        "clicks": asked.counts["clicks"],
        "queries": int(whole.sum()),
        "items": asked.items,
        "seen_share": asked.counts["seen_share"],
        "cold_users_simulated": asked.counts["cold_users_simulated"],
        "models": dismissals.judge(alone, asked, seed),
        "popularity": dismissals.judge(popular, asked, seed),
        "random": list_metrics.estimates(list_metrics.random_metrics(asked.items)),
        "retrieval_minus_popularity": list_metrics.overall_difference(
            arrays["retrieval_ranks"], popular.ranks, asked, seed, "recall@100"
        ),
        "session_moves": session_moves.measure(
            asked,
            Lists(arrays["served_ranks"], arrays["served_top"]),
            generation.of_rows().served,
            seed,
        ),
    }
    np.savez(target / "lists.npz", allow_pickle=False, **arrays)
    write_json(target / "metrics.json", metrics)
    _write_figures(metrics, target / "figures")
    return metrics


def _write_figures(metrics: OfflineFigures, folder: Path) -> None:
    folder.mkdir()
    judged = {
        "served": metrics["served"],
        "retrieval": metrics["retrieval"],
        "popularity": metrics["popularity"],
        "random": metrics["random"],
    }
    # without a query, only a random order has figures
    systems = {name: own for name, own in judged.items() if own}
    (folder / "lists_table.md").write_text(markdown_table(_table(systems, "system")))
    if metrics["slices"]:
        (folder / "slices_table.md").write_text(markdown_table(_table(metrics["slices"], "slice")))
    (folder / "recall@100.md").write_text(
        plots.bar_chart(
            "Recall@100, whole catalogue, validation days",
            {name: own["recall@100"]["value"] for name, own in systems.items()},
        )
    )
    session_figures.write(metrics["session_moves"], folder)
    if bins := metrics["ranker"]["reliability"]:
        table = [{"predicted": one["predicted"], "observed": one["observed"]} for one in bins]
        (folder / "reliability.md").write_text(
            plots.reliability_chart("Ranker: predicted and observed click rate", table)
        )


def _table(rows: Mapping[str, Mapping[str, Any]], what: str) -> pl.DataFrame:
    """Return value [low, high] of each metric, one row per system or slice."""
    metrics = list(list_metrics.METRICS)
    if any(VALUE_NDCG in of for of in rows.values()):
        metrics.insert(0, VALUE_NDCG)
    if any(DISMISSED_AT in of for of in rows.values()):
        metrics.append(DISMISSED_AT)
    return pl.DataFrame(
        [
            {
                what: name,
                **({"queries": of["queries"]} if "queries" in of else {}),
                **{
                    metric: f"{of[metric]['value']:.4f} [{of[metric]['low']:.4f}, "
                    f"{of[metric]['high']:.4f}]"
                    if metric in of
                    else ""  # a random order has no queries, and a slice may have no value
                    for metric in metrics
                },
            }
            for name, of in rows.items()
        ]
    )


def read_metrics(report: Artifact) -> OfflineFigures:
    """Read the metrics.json of an ``evaluation/offline``."""
    metrics: OfflineFigures = json.loads(report.path("metrics.json").read_text())
    return metrics
