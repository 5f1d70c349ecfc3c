"""From artifact to artifact: what the exported models are worth on rows they have not seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, write_json
from recsys_assets.lib import evaluation, item_tables, plots
from recsys_assets.lib.feature_tables import markdown_table, read_transforms
from recsys_assets.lib.retrieval_tables import load_vectors
from recsys_assets.serving.transforms import SECONDS_PER_DAY, log_count

#: Clicks that the two stages together are judged on: each costs 300 scored candidates.
TWO_STAGE_SAMPLE = 2_000
RETRIEVAL_TOPK = 300


@dataclass(frozen=True)
class Catalogue:
    """The item side of a generation, as every evaluation of it needs it."""

    vectors: np.ndarray  # float32 [I, 64]
    index: np.ndarray  # int32 [I], Categorify index of each row
    table: np.ndarray  # float32 [cardinality, 128]
    inputs: Mapping[str, np.ndarray]  # of item_tables.item_tower_inputs

    @classmethod
    def read(cls, item_vectors: Artifact, aligned: Artifact) -> Catalogue:
        vectors, index = load_vectors(item_vectors)
        with np.load(aligned.path("item_tower_inputs.npz"), allow_pickle=False) as stored:
            inputs = dict(stored)
        return cls(vectors, index, np.load(aligned.path("embedding_table.npy"), allow_pickle=False), inputs)


@dataclass(frozen=True)
class Clicks:
    """Clicked rows whose item the catalogue has: what retrieval is asked for."""

    cat: np.ndarray  # int32 [Q, 5]
    cont: np.ndarray  # float32 [Q, 7]
    users: np.ndarray  # int32 [Q]
    day: np.ndarray  # int64 [Q], days since 1970
    true: np.ndarray  # int64 [Q], row of the catalogue

    @classmethod
    def of(cls, rows: pl.DataFrame, catalogue: Catalogue) -> Clicks:
        clicked = rows.filter((pl.col(c.CLICK) == 1) & pl.col(c.ITEM_ID).is_in(catalogue.index.tolist()))
        if clicked.is_empty():
            raise ValueError("no clicked row of a known item: nothing to judge retrieval by; choose other days")
        return cls(pack(clicked, c.QUERY_CATEGORICAL, np.int32), pack(clicked, c.QUERY_CONTINUOUS, np.float32),
                   clicked[c.USER_ID].to_numpy(), clicked[c.TIMESTAMP].to_numpy() // SECONDS_PER_DAY,
                   evaluation.rows_of(catalogue.index, clicked[c.ITEM_ID].to_numpy()))


def pack(rows: pl.DataFrame, names: tuple[str, ...], dtype: type) -> np.ndarray:
    """Columns of a frame as one contiguous matrix [N, len(names)]."""
    return np.ascontiguousarray(rows.select(names).to_numpy().astype(dtype))


def judge(rows: pl.DataFrame, query_tower: Path, ranker: Path, catalogue: Catalogue) -> dict[str, float]:
    """recall@100 over the whole catalogue and AUC of one query tower and one ranker on transformed rows."""
    clicks = Clicks.of(rows, catalogue)
    ranks = evaluation.true_ranks(evaluation.encode_queries(query_tower, clicks.cat, clicks.cont), catalogue.vectors, clicks.true)
    scores = evaluation.score_dlrm(ranker, pack(rows, c.RANKER_CATEGORICAL, np.int32), pack(rows, c.RANKER_CONTINUOUS, np.float32),
                                   catalogue.table)
    return {"recall@100": float((ranks <= 100).mean()), "auc": evaluation.auc(rows[c.CLICK].to_numpy(), scores), "rows": rows.height}


def write_report(models: Artifact, vectors: Artifact, popularity: Artifact, datasets: Artifact, aligned: Artifact,
                 workflows: Artifact, days_before: Sequence[Artifact], target: Path, seed: int) -> dict[str, Any]:
    """metrics.json, and the same as tables and plots; the returned metrics are those of the file.

    days_before: features/interactions of the day before each validation day, for its item_popularity.parquet.
    """
    catalogue = Catalogue.read(vectors, aligned)
    rows = pl.read_parquet(sorted((datasets.local / "valid").glob("*.parquet")))
    clicks = Clicks.of(rows, catalogue)
    queries = evaluation.encode_queries(models.path("query_tower.onnx"), clicks.cat, clicks.cont)
    retrieved = evaluation.true_ranks(queries, catalogue.vectors, clicks.true)
    popular = evaluation.ranks_by_order(_popularity_order(popularity, workflows, catalogue), clicks.true)
    sample = np.sort(np.random.default_rng(seed).permutation(len(queries))[:TWO_STAGE_SAMPLE])
    popularity_of_days, first = _daily_popularity(days_before, read_transforms(workflows), catalogue)
    both = evaluation.two_stage_ranks(
        models.path("dlrm.onnx"), clicks.cat[sample], clicks.cont[sample], queries[sample], catalogue.inputs, popularity_of_days,
        clicks.day[sample] - first, catalogue.vectors, catalogue.table, clicks.true[sample], RETRIEVAL_TOPK)
    scores = evaluation.score_dlrm(models.path("dlrm.onnx"), pack(rows, c.RANKER_CATEGORICAL, np.int32),
                                   pack(rows, c.RANKER_CONTINUOUS, np.float32), catalogue.table)
    clicked = rows[c.CLICK].to_numpy()
    random = evaluation.random_metrics(len(catalogue.vectors))
    metrics: dict[str, Any] = {
        "rows": rows.height, "clicks": len(queries), "items": len(catalogue.vectors),
        "retrieval": evaluation.retrieval_metrics(retrieved, clicks.users, seed),
        "two_stage": evaluation.retrieval_metrics(both, clicks.users[sample], seed),
        "popularity": evaluation.retrieval_metrics(popular, clicks.users, seed),
        "random": {name: {"value": value, "low": value, "high": value} for name, value in random.items()},
        "coverage@100": evaluation.coverage(queries, catalogue.vectors),
        "ranking": evaluation.ranking_metrics(clicked, scores),
    }
    write_json(target / "metrics.json", metrics)
    figures = target / "figures"
    figures.mkdir()
    (figures / "retrieval_table.md").write_text(markdown_table(_table(metrics)))
    (figures / "recall@100.md").write_text(plots.bar_chart("Recall@100, whole catalogue, validation days", {
        name: metrics[name]["recall@100"]["value"] for name in ("retrieval", "popularity", "random")}))
    (figures / "reliability.md").write_text(plots.reliability_chart("Ranker: predicted and observed click rate",
                                                                    evaluation.reliability(clicked, scores)))
    return metrics


def _daily_popularity(days_before: Sequence[Artifact], transforms: Mapping[str, Any], catalogue: Catalogue) -> tuple[np.ndarray, int]:
    """item_popularity float32 [D, I] as D days in a row see it, and the first of them in days since 1970.

    Raises ValueError where the artifacts are not of days in a row: a query's day must be a row of the table.
    """
    counts = pl.concat([pl.read_parquet(artifact.path("item_popularity.parquet")) for artifact in days_before])
    days = np.unique(counts[c.TIMESTAMP].to_numpy()) // SECONDS_PER_DAY
    if len(days) != len(days_before) or np.any(np.diff(days) != 1):
        raise ValueError(f"item_popularity of {len(days_before)} days gives the days {days.tolist()} since 1970; give "
                         "features/interactions of days in a row")
    index = item_tables.vocabulary_index(transforms, c.ITEM_ID)
    known = counts.filter(pl.col(c.ITEM_ID).is_in(list(index)))
    table = np.zeros((len(days), len(catalogue.index)), np.float32)
    rows = evaluation.rows_of(catalogue.index, np.array([index[item] for item in known[c.ITEM_ID]], np.int64))
    table[known[c.TIMESTAMP].to_numpy() // SECONDS_PER_DAY - days[0], rows] = known[c.ITEM_CLICKS].to_numpy()
    return log_count(table), int(days[0])


def _popularity_order(popularity: Artifact, workflows: Artifact, catalogue: Catalogue) -> np.ndarray:
    """Rows of the catalogue, most clicked first."""
    ids = read_transforms(workflows)["vocabulary"][c.ITEM_ID]
    position = {item: c.VOCABULARY_START + n for n, item in enumerate(ids)}
    ranked = pl.read_parquet(popularity.path("popularity.parquet"))[c.ITEM_ID]
    return evaluation.rows_of(catalogue.index, np.array([position[item] for item in ranked if item in position]))


def _table(metrics: Mapping[str, Any]) -> pl.DataFrame:
    names = list(metrics["retrieval"])
    return pl.DataFrame([{"model": model, **{
        name: f"{metrics[model][name]['value']:.4f} [{metrics[model][name]['low']:.4f}, {metrics[model][name]['high']:.4f}]"
        for name in names}} for model in ("two_stage", "retrieval", "popularity", "random")])


def read_metrics(report: Artifact) -> dict[str, Any]:
    return json.loads(report.path("metrics.json").read_text())
