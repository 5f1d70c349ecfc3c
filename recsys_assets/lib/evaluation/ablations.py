"""Prepares the training data of each ablation and judges it on the queries of its base.

The base is the generation that an ``evaluation/offline`` has judged, without sources of candidates
beside retrieval: they would hide what a part of the models does. A variant differs from it only
in the parts that its ``ablation_variants.Variant`` names. Other inputs, parameters and the seed are
the base's own.

*Withheld* items are those with the latest launch, their first day in the window's log. Among items
of one day, a seeded draw decides, so that a log without launches withholds random items. Their rows
are removed from training. When they are judged they are as new as on their launch day: the item
tower knows them by content and attributes alone, and they have no clicks (popularity 0).
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.files import write_json
from recsys_assets.lib.embeddings.aligned import vocabulary_index
from recsys_assets.lib.evaluation import list_metrics, offline
from recsys_assets.lib.evaluation.ablation_figures import write_figures
from recsys_assets.lib.evaluation.ablation_variants import COLD_ITEMS, IMAGE, TEXT, Variant
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.evaluation.list_metrics import Lists
from recsys_assets.lib.evaluation.measures import VariantFigures
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.batch_transform import RowTransform, read_transforms
from recsys_assets.lib.features.clock import zone_of
from recsys_assets.lib.features.transforms import Transforms
from recsys_assets.lib.landing.local_days import local_day
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.release_files import EMBEDDING_TABLE, ITEM_TOWER_INPUTS

WITHHELD_SHARE = 0.2  # of the items that the log has
COMPARED = ("ndcg@10", "recall@100")  # with the base, on the same queries
#: Values of a row without context: an unknown device, midnight, Monday.
NO_CONTEXT: dict[str, float | int] = {
    c.DEVICE_TYPE: c.OOV_INDEX,
    c.HOUR_SIN: 0.0,
    c.HOUR_COS: 1.0,
    c.WEEKDAY_SIN: 0.0,
    c.WEEKDAY_COS: 1.0,
}
_HALVES = {TEXT: slice(0, c.EMBEDDING_DIM), IMAGE: slice(c.EMBEDDING_DIM, 2 * c.EMBEDDING_DIM)}
_WITHHELD = "withheld.parquet"


# --- data -----------------------------------------------------------------------------------------
def write_withheld(
    interactions: Sequence[Artifact], items: Artifact, workflows: Artifact, target: Path, seed: int
) -> dict[str, Any]:
    """Write withheld.parquet: the newest WITHHELD_SHARE of the items of the log.

    Its columns are {item_id, index: Int32 (Categorify's), launched: Date}. Items that the log lacks
    are cold already, and no query asks for them.

    Args:
        interactions: ``raw/interactions`` of the window.
        items: ``raw/items``.
        workflows: ``features/workflows``.
        target: folder of the file.
        seed: of the draw among items of one day.
    """
    catalogue = pl.read_parquet(items.path("items.parquet"), columns=[c.ITEM_ID])
    transforms = read_transforms(workflows)
    launched = (
        scan_interactions(interactions)
        .filter(pl.col(c.EVENT_TYPE) != c.DISMISS)
        .group_by(c.ITEM_ID)
        .agg(day=local_day(pl.col(c.TIMESTAMP).min(), zone_of(transforms)))
        .join(catalogue.lazy(), on=c.ITEM_ID, how="semi")
        .sort(c.ITEM_ID)
        .collect()
    )
    drawn = np.random.default_rng([seed, 20]).permutation(launched.height)
    newest = (
        launched.with_columns(drawn=drawn)
        .sort("day", "drawn", descending=[True, False])
        .head(max(1, int(WITHHELD_SHARE * launched.height)))
        .sort(c.ITEM_ID)
    )
    index = vocabulary_index(transforms, c.ITEM_ID)
    newest.select(
        c.ITEM_ID,
        pl.Series("index", [index[item] for item in newest[c.ITEM_ID]], pl.Int32),
        launched=pl.col("day").cast(pl.Int32).cast(pl.Date),
    ).write_parquet(target / _WITHHELD)
    return {
        "rows": newest.height,
        "items": launched.height,
        "launched_after_the_first_day": int((newest["day"] > launched["day"].min()).sum()),
    }


def write_aligned(
    aligned: Artifact, target: Path, without: Sequence[str], withheld: Artifact | None = None
) -> dict[str, Any]:
    """Write ``embeddings/aligned`` with zeros for the halves ``without``.

    Withheld items get the unknown item id.
    """
    table = np.load(aligned.path(EMBEDDING_TABLE), allow_pickle=False)
    for name in without:
        table[:, _HALVES[name]] = 0.0
    np.save(target / EMBEDDING_TABLE, table, allow_pickle=False)
    inputs = _item_inputs(aligned)
    hidden = np.isin(inputs["index"], _withheld_indices(withheld))
    inputs["cat"][hidden, c.ITEM_CATEGORICAL.index(c.ITEM_ID)] = c.OOV_INDEX
    np.savez(target / ITEM_TOWER_INPUTS, allow_pickle=False, **inputs)
    return {
        "rows": len(table),
        "withheld": int(hidden.sum()),
        "without": ", ".join(without) or "nothing",
    }


def write_known_items(aligned: Artifact, withheld: Artifact, target: Path) -> dict[str, Any]:
    """Write item_tower_inputs.npz without the withheld items.

    Training takes it as the catalogue, so that no withheld item is a negative.
    """
    inputs = _item_inputs(aligned)
    known = ~np.isin(inputs["index"], _withheld_indices(withheld))
    np.savez(
        target / ITEM_TOWER_INPUTS,
        allow_pickle=False,
        **{name: values[known] for name, values in inputs.items()},
    )
    return {"rows": int(known.sum())}


def write_datasets(
    datasets: Artifact, target: Path, context: bool, withheld: Artifact | None = None
) -> dict[str, Any]:
    """Write ``features/datasets`` without context or without the rows of withheld items.

    Merlin's schema is copied. Its statistics of row groups (_metadata) would be wrong and are left
    out. The matrices with one row per clicked row ({train,valid}_{history,items,ages}.npy) lose the
    same rows, and withheld items in the rest become out-of-vocabulary.

    Args:
        datasets: ``features/datasets``.
        target: folder of the files.
        context: False: every row gets NO_CONTEXT.
        withheld: of ``write_withheld``; None: no row is removed.

    Returns:
        "<split>_rows" → rows of the split.
    """
    indices = _withheld_indices(withheld)
    metrics: dict[str, int] = {}
    for name in datasets.manifest["files"]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            split = f"{name.split('/')[0]}_rows"
            rows = _write_rows(datasets.path(name), target / name, context, indices)
            metrics[split] = metrics.get(split, 0) + rows
        elif name.endswith(".npy"):
            split, _, part = name.removesuffix(".npy").partition("_")
            matrix = np.load(datasets.path(name), mmap_mode="r", allow_pickle=False)
            kept = np.array(matrix[_kept_clicks(datasets, split, indices)])
            if part == "items":
                kept[np.isin(kept, indices)] = c.OOV_INDEX
            np.save(target / name, kept, allow_pickle=False)
        elif not name.endswith("_metadata"):
            shutil.copyfile(datasets.path(name), target / name)
    return metrics


def _write_rows(source: Path, target: Path, context: bool, indices: np.ndarray) -> int:
    """Write the rows of a file whose item is not in ``indices``; return their number."""
    rows = pl.scan_parquet(source)
    schema = rows.collect_schema()
    kept = rows.filter(~pl.col(c.ITEM_ID).is_in(indices.tolist()))
    if not context:
        kept = kept.with_columns(
            pl.lit(value, schema[column]).alias(column) for column, value in NO_CONTEXT.items()
        )
    kept.sink_parquet(target, maintain_order=True)
    return int(pl.scan_parquet(target).select(pl.len()).collect().item())


def _kept_clicks(datasets: Artifact, split: str, indices: np.ndarray) -> np.ndarray:
    """Return which clicked rows of the split have no withheld item, bool, in their order."""
    files = sorted(
        name
        for name in datasets.manifest["files"]
        if name.startswith(f"{split}/") and name.endswith(".parquet")
    )
    clicked = (
        pl.scan_parquet([datasets.path(name) for name in files])
        .filter(pl.col(c.CLICK) == 1)
        .select(c.ITEM_ID)
        .collect()
    )
    return ~np.isin(clicked[c.ITEM_ID].to_numpy(), indices)


def _item_inputs(aligned: Artifact) -> dict[str, np.ndarray]:
    with np.load(aligned.path(ITEM_TOWER_INPUTS), allow_pickle=False) as stored:
        return dict(stored)


def _withheld_indices(withheld: Artifact | None) -> np.ndarray:
    """Return the Categorify indices of the withheld items, int32; empty without any."""
    return (
        np.zeros(0, np.int32)
        if withheld is None
        else pl.read_parquet(withheld.path(_WITHHELD))["index"].to_numpy()
    )


# --- judging --------------------------------------------------------------------------------------
class WithoutContext:
    """Wraps a generation's transform so that every row gets NO_CONTEXT."""

    def __init__(self, transform: RowTransform) -> None:
        self._transform = transform

    @property
    def transforms(self) -> Transforms:
        """Transforms of the generation."""
        return self._transform.transforms

    def transform_frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Transform the rows and overwrite their context."""
        rows = self._transform.transform_frame(frame)
        return rows.with_columns(
            pl.lit(value, rows.schema[column]).alias(column) for column, value in NO_CONTEXT.items()
        )


def withhold(generation: Generation, item_ids: Sequence[str]) -> None:
    """Set the popularity of items to 0 on all days, in place, as on their launch day."""
    hidden = np.isin(generation.item_ids, item_ids)
    values = np.where(hidden, np.float32(0), generation.popularity.values)
    generation.popularity = dataclasses.replace(generation.popularity, values=values)


def write_evaluation(
    variant: Variant,
    queries: Artifact,
    features: Sequence[Artifact],
    target: Path,
    *,
    params: Mapping[str, Any],
    withheld: Artifact | None = None,
    **made_from: Any,
) -> VariantFigures:
    """Write lists.npz of one variant on the queries of its base; return its figures.

    Where items are withheld, the slices include COLD_ITEMS.

    Args:
        variant: the ablation.
        queries: ``evaluation/queries`` of the base.
        features: ``features/interactions`` of the validation days.
        target: folder of lists.npz.
        params: of the base's ``evaluation/offline``: the seed, and the parameters of the lists.
        withheld: of ``write_withheld``.
        made_from: the artifacts that ``Generation.of_training`` takes.
    """
    asked, exposures = (
        Queries.read(queries),
        pl.concat([pl.read_parquet(artifact.path("features.parquet")) for artifact in features]),
    )
    of_lists = dict(params)
    seed = of_lists.pop("seed")
    generation = Generation.of_training(**made_from, **of_lists)
    if withheld is not None:
        item_ids = pl.read_parquet(withheld.path(_WITHHELD))[c.ITEM_ID]
        asked = with_cold_items(asked, withheld)
        exposures = exposures.with_columns(
            pl.when(pl.col(c.ITEM_ID).is_in(item_ids.implode()))
            .then(pl.lit(0.0, pl.Float32))
            .otherwise(pl.col(c.ITEM_CLICKS))
            .alias(c.ITEM_CLICKS)
        )
        withhold(generation, item_ids.to_list())
    if not variant.context:
        generation.transform = WithoutContext(generation.transform)
    metrics, arrays = offline.measure(generation, asked, exposures, seed)
    np.savez(target / "lists.npz", allow_pickle=False, **arrays)
    return {
        "served": metrics["served"],
        "retrieval": metrics["retrieval"],
        "slices": metrics["slices"],
        "slices_retrieval": metrics["slices_retrieval"],
        "ranker": metrics["ranker"],
        "queries": int(asked.overall.sum()),
    }


def with_cold_items(queries: Queries, withheld: Artifact) -> Queries:
    """Add the slice COLD_ITEMS: the overall queries whose item is withheld."""
    item_ids = pl.read_parquet(withheld.path(_WITHHELD))[c.ITEM_ID].to_numpy().astype(str)
    cold = np.isin(queries.item_ids, item_ids)[queries.true] & queries.overall
    return dataclasses.replace(queries, slices={**queries.slices, COLD_ITEMS: cold})


# --- all of them ----------------------------------------------------------------------------------
def write_ablations(
    queries: Artifact,
    base: Artifact,
    variants: Mapping[str, Artifact],
    target: Path,
    seed: int,
    withheld: Artifact | None = None,
) -> dict[str, Any]:
    """Write lists.npz, metrics.json, tables and plots of all variants beside their base.

    Args:
        queries: ``evaluation/queries``.
        base: ``evaluation/offline``.
        variants: name → artifact of ``write_evaluation``.
        target: folder of the files.
        seed: of the bootstrap.
        withheld: of ``write_withheld``.

    Returns:
        variant → {"served", "retrieval", "ranker", "slices", "minus_base": {metric: paired
        difference as served}}. Where items are withheld, also "slices_retrieval" and "base_slices":
        the figures for COLD_ITEMS of retrieval and of the base, which has learnt these items.

    Raises:
        ValueError: the base has not answered these queries.
    """
    asked = Queries.read(queries)
    # without other sources, as the variants are; an older version has no lists of its own for it
    judged = offline.MODELS if offline.MODELS in base.metrics else "served"
    overall, users, own = asked.overall, asked.users, Lists.read(base, judged).ranks
    if len(own) != len(asked):
        raise ValueError(
            f"evaluation/offline has {len(own)} lists for {len(asked)} queries; materialise it "
            "again"
        )
    cold = (
        {}
        if withheld is None
        else list_metrics.judge_slices(own, with_cold_items(asked, withheld), seed)
    )
    metrics: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, artifact in variants.items():
        lists, found = Lists.read(artifact, "served"), artifact.metrics
        arrays |= lists.arrays(name)
        metrics[name] = {part: found[part] for part in ("served", "retrieval", "ranker", "slices")}
        metrics[name]["minus_base"] = {
            metric: list_metrics.paired_difference(
                lists.ranks[overall], own[overall], users[overall], metric, seed
            )
            for metric in COMPARED
        }
        if COLD_ITEMS in found["slices"]:
            metrics[name] |= {
                "slices_retrieval": {COLD_ITEMS: found["slices_retrieval"][COLD_ITEMS]},
                "base_slices": {COLD_ITEMS: cold[COLD_ITEMS]},
            }
    np.savez(target / "lists.npz", allow_pickle=False, **arrays)
    write_json(target / "metrics.json", metrics)
    alone = {**base.metrics, "served": base.metrics[judged]}
    write_figures(alone, metrics, target / "figures")
    return metrics


def headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of each variant that the UI plots over as-of days."""
    return {
        name: {
            "served": {"ndcg@10": part["served"]["ndcg@10"]},
            "retrieval": {"recall@100": part["retrieval"]["recall@100"]},
            "auc": part["ranker"]["auc"],
            "minus_base": {"ndcg@10": part["minus_base"]["ndcg@10"]},
            **(
                {COLD_ITEMS: {"recall@50": part["slices"][COLD_ITEMS]["recall@50"]}}
                if COLD_ITEMS in part["slices"]
                else {}
            ),
        }
        for name, part in metrics.items()
    }
