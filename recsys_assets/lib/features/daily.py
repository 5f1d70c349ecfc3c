"""From artifact to artifact: daily features, masking, parity of the transforms, the online store."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.feature_store import popularity
from recsys_assets.lib.features import batch_transform, vocabulary
from recsys_assets.lib.features import point_in_time as features
from recsys_assets.lib.figures.series import number
from recsys_assets.partitions import day_bounds
from recsys_assets.release_files import TRANSFORMS
from recsys_assets.settings import POPULARITY_DATABASE, Settings

LEAKAGE_SAMPLE = 25  # moments at which the future is taken away


def _frames(inputs: Mapping[str, Any]) -> tuple[pl.DataFrame, pl.DataFrame | None, pl.DataFrame, pl.DataFrame]:
    """Today's rows, the clicks of the days before (None: there are none), users and items."""
    *before, today = [artifact.path("interactions.parquet") for artifact in inputs["interactions"]]
    earlier = None
    if before:  # of the days before, the clicks alone say something
        earlier = pl.scan_parquet(before).filter(pl.col(c.EVENT_TYPE) != c.IMPRESSION).select(*features.NEEDED).collect()
    return (pl.read_parquet(today), earlier, pl.read_parquet(inputs["users"].path("users.parquet")),
            pl.read_parquet(inputs["items"].path("items.parquet")))


def write_features(inputs: Mapping[str, Any], day: str, target: Path) -> dict[str, Any]:
    """A day's features.parquet (a row an exposure), click_history.parquet (a row a clicked exposure), user_activity.parquet
    (a row a click) and item_popularity.parquet."""
    today, earlier, users, items = _frames(inputs)
    rows, history, activity = features.interaction_features(today, earlier, users, items, day)
    rows.write_parquet(target / "features.parquet")
    history.write_parquet(target / "click_history.parquet")
    activity.write_parquet(target / "user_activity.parquet")
    features.item_popularity(today, items, day).write_parquet(target / "item_popularity.parquet")
    return {"rows": rows.height, "click_rate": number(rows[c.CLICK].mean()), "users": rows[c.USER_ID].n_unique(),
            "items": rows[c.ITEM_ID].n_unique(),
            "without_top_category": number((rows[c.TOP_CATEGORY] == c.MISSING).mean()),
            "without_history": number((rows[c.CLICKS_7D] == 0).mean()),
            "users_without_age": number(rows[c.AGE].is_null().mean())}


def changed_without_the_future(inputs: Mapping[str, Any], built: Artifact, day: str) -> int:
    """How many sampled rows' features change when everything from their own moment on is removed (must be 0)."""
    today, earlier, users, items = _frames(inputs)
    rows = pl.read_parquet(built.path("features.parquet")).drop(c.CLICK)
    moments = rows[c.TIMESTAMP].unique().sort()
    picked = moments.gather(np.linspace(0, len(moments) - 1, min(LEAKAGE_SAMPLE, len(moments))).astype(int))
    rows = rows.filter(pl.col(c.TIMESTAMP).is_in(picked.implode()))
    history = pl.read_parquet(built.path("click_history.parquet")).join(rows.select(c.EVENT_ID, c.TIMESTAMP), on=c.EVENT_ID)
    # nobody else's rows take part in these rows' features, but the day before's in their items' popularity
    of_users = pl.col(c.USER_ID).is_in(rows[c.USER_ID].unique().implode())
    of_items = pl.col(c.ITEM_ID).is_in(rows[c.ITEM_ID].unique().implode())
    today, earlier = today.filter(of_users), None if earlier is None else earlier.filter(of_users | of_items)
    changed = 0
    for moment in picked:
        now = pl.col(c.TIMESTAMP) == moment
        # the moment's own exposures stay as unclicked questions; every answer from then on is gone
        past = pl.concat([today.filter(pl.col(c.TIMESTAMP) < moment),
                          today.filter(now & pl.col(c.EVENT_TYPE).is_in(c.EXPOSURE_EVENTS)).with_columns(
                              pl.lit(c.IMPRESSION).alias(c.EVENT_TYPE), pl.lit(0, pl.Int8).alias(c.CLICK))])
        again, _, _ = features.interaction_features(past, earlier, users, items, day)
        kept = rows.filter(now).join(again, on=rows.columns, how="semi", nulls_equal=True)
        changed += rows.filter(now).height - kept.height
        # a list is right where its length is and it holds no click of the moment or later: as many as the counts say
        lists = history.filter(now).join(again.select(c.EVENT_ID, c.CLICKS_7D), on=c.EVENT_ID)
        changed += lists.filter(pl.col(features.HISTORY).list.len() != pl.col(c.CLICKS_7D)).height
    return changed


def write_masked(source: Artifact, day: str, seed: int, target: Path) -> dict[str, Any]:
    rows = pl.read_parquet(source.path("features.parquet"))
    masked = features.mask(rows, day, seed)
    masked.write_parquet(target / "masked.parquet")
    known = rows[c.USER_ID] != c.MISSING
    return {"rows": masked.height,
            "masked_visitors": number(((masked[c.USER_ID] == c.MISSING) & known).mean()),
            "masked_devices": number(((masked[c.DEVICE_TYPE] == c.MISSING) & (rows[c.DEVICE_TYPE] != c.MISSING)).mean())}


def read_transforms(workflows: Artifact) -> dict[str, Any]:
    return json.loads(workflows.path(TRANSFORMS).read_text())


def items_without_index(workflows: Artifact, items: Artifact) -> list[str]:
    vocabulary = set(read_transforms(workflows)["vocabulary"][c.ITEM_ID])
    catalogue = pl.read_parquet(items.path("items.parquet"), columns=[c.ITEM_ID])[c.ITEM_ID]
    return sorted(set(catalogue) - vocabulary)[:20]


def transform_differences(datasets: Artifact, workflows: Artifact, valid: Sequence[Artifact]) -> dict[str, float]:
    """Largest difference, column by column, between NVTabular's validation rows and the compiled transform's.

    "history": between the click histories of the clicked ones, as the training step and as the platform counts them.
    """
    raw = pl.concat([pl.read_parquet(artifact.path("features.parquet")) for artifact in valid])
    compiled = batch_transform.BatchTransform(read_transforms(workflows))
    ours = compiled.transform_frame(raw)
    theirs = pl.read_parquet(sorted((datasets.local / "valid").glob("*.parquet")))
    if theirs.height != ours.height:
        raise ValueError(f"datasets' valid/ has {theirs.height} rows, the features of these days have {ours.height}")
    clicked = raw.filter(pl.col(c.CLICK) == 1)
    lists = pl.concat([pl.read_parquet(artifact.path("click_history.parquet")) for artifact in valid])
    counted = batch_transform.history_matrix(compiled.transforms.vocabulary[c.CATEGORY_L1], lists[features.HISTORY],
                                             clicked[c.CLICKS_7D].to_numpy(), clicked[c.CLICKS_24H].to_numpy())
    written = np.load(datasets.path("valid_history.npy"), allow_pickle=False)
    if written.shape != counted.shape:
        raise ValueError(f"datasets' valid_history.npy has shape {written.shape}, these days' click histories make {counted.shape}")
    return {**{name: number((ours[name].cast(pl.Float64) - theirs[name].cast(pl.Float64)).abs().max())
               for name in c.RANKER_CATEGORICAL + c.RANKER_CONTINUOUS},
            "history": float((written != counted).any())}


def click_rates(datasets: Artifact) -> dict[str, float]:
    """Share of clicked rows in train/ and valid/."""
    return {part: float(pl.scan_parquet(datasets.local / part / "*.parquet").select(pl.col(c.CLICK).mean()).collect().item() or 0.0)
            for part in ("train", "valid")}


def labels(rates: Mapping[str, float]) -> tuple[bool, str]:
    """Whether models can be trained and judged on data sets of these ``click_rates``, and where the ranker's negatives come from."""
    if all(0 < rate < 1 for rate in rates.values()):
        return True, "logged: rows that were shown and not clicked"
    if all(rate == 1 for rate in rates.values()):
        return True, "drawn: the log holds clicks alone, so the ranker learns from items that the visitor did not click that day"
    return False, "none to trust: " + ", ".join(f"{rate:.0%} of {part}'s rows are clicked" for part, rate in rates.items())


def vocabulary_growth(workflows: Artifact, days: Sequence[Artifact]) -> pl.DataFrame:
    """{column, unseen_values, rows, share}: what these days hold that the workflows' vocabularies do not."""
    scanned = pl.scan_parquet([artifact.path("features.parquet") for artifact in days])
    grown = vocabulary.growth(scanned, read_transforms(workflows))
    return pl.DataFrame([{"column": column, **counts} for column, counts in grown.items()])


def materialize_online(settings: Settings, features: Sequence[Artifact], *, users: Artifact, items: Artifact) -> dict[str, int]:
    """The last day's end into Feast's offline files and from there into its online store; rows by view.

    Args:
        features: features/interactions of the day, last, and of the days before it that a visitor's history looks back
            on. What Feast's offline files lack of those is written first: else a visitor whose last click is days ago
            would have none online.
    """
    from recsys_assets.lib.feature_store import store

    missing = [artifact for artifact in features[:-1]
               if not store.has_offline(settings, store.USER_ACTIVITY, str(artifact.partition))]
    users_table, items_table = pl.read_parquet(users.path("users.parquet")), pl.read_parquet(items.path("items.parquet"))
    for artifact in (*missing, features[-1]):
        store.write_offline(
            settings, users_table, items_table, pl.read_parquet(artifact.path("user_activity.parquet")),
            pl.read_parquet(artifact.path("item_popularity.parquet")), day_bounds(str(artifact.partition))[0])
    start = day_bounds(str((*missing, features[-1])[0].partition))[0]
    with contextlib.redirect_stdout(io.StringIO()):  # Feast prints its progress; the run's metadata has the counts
        return store.materialize(settings, start, day_bounds(str(features[-1].partition))[1])


def publish_popularity(settings: Settings, interactions: Sequence[Artifact], items: Artifact) -> pl.DataFrame:
    """Clicks of these days into database 3; returns the items with their clicks, most clicked first."""
    from recsys_assets.serving.stores.connections import visitor_client

    counts = count_clicks(interactions, items)
    popularity.write_popularity(visitor_client(settings, POPULARITY_DATABASE, timeout_ms=10_000), counts)
    return counts


def count_clicks(interactions: Sequence[Artifact], items: Artifact) -> pl.DataFrame:
    """Every item with its clicks over these days, most clicked first."""
    scanned = pl.scan_parquet([artifact.path("interactions.parquet") for artifact in interactions])
    return popularity.count_clicks(scanned, pl.read_parquet(items.path("items.parquet")))


def markdown_table(frame: pl.DataFrame) -> str:
    """A small frame as Markdown, for the UI."""
    def cell(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")

    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * len(frame.columns)]
    return "\n".join(lines + ["| " + " | ".join(map(cell, row)) + " |" for row in frame.iter_rows()])
