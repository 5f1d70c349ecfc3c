"""A simulated shop's twelve days as artifacts, and a generation of linear models on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.embeddings import aligned
from recsys_assets.lib.features.point_in_time import interaction_features, item_popularity
from recsys_assets.lib.features.popularity import count_clicks
from recsys_assets.lib.landing.zone import ITEMS_FILE, USERS_FILE
from recsys_assets.lib.simulator import shop
from recsys_assets.partitions import train_days, window_days
from recsys_assets.settings import Settings
from recsys_assets_tests.support import linear_onnx
from recsys_assets_tests.support.dismissals import with_dismissals

SCALE = shop.Scale("small", 80, 60, 500)


def write_window(
    settings: Settings, as_of: str, scale: shop.Scale = SCALE, dismissals: int = 0
) -> ArtifactStore:
    """raw/items, raw/interactions and features/interactions of the window's days, out of a landing
    zone that is simulated. ``dismissals`` are added to each day's log.
    """
    landing, store, days = (
        Path(settings.landing),
        ArtifactStore(settings.artifacts),
        window_days(as_of),
    )
    shop.simulate(landing, scale, days, settings.seed)
    users, items = pl.read_parquet(landing / USERS_FILE), pl.read_parquet(landing / ITEMS_FILE)
    with store.stage("raw/items") as staged:
        items.write_parquet(staged.path / "items.parquet")
        staged.publish()
    before: list[pl.DataFrame] = []
    for day in days:
        today = pl.read_parquet(landing / "interactions" / day / "*.parquet").select(
            *c.RAW_INTERACTIONS
        )
        if dismissals:
            today = with_dismissals(today, dismissals, settings.seed)
        earlier = pl.concat(before[-7:]) if before else None
        features, history, activity = interaction_features(
            today, earlier, users, items, day, look_back_days=7
        )
        with store.stage("raw/interactions", day) as staged:
            today.write_parquet(staged.path / "interactions.parquet")
            staged.publish()
        with store.stage("features/interactions", day) as staged:
            features.write_parquet(staged.path / "features.parquet")
            history.write_parquet(staged.path / "click_history.parquet")
            activity.write_parquet(staged.path / "user_activity.parquet")
            item_popularity(today, items, day).write_parquet(
                staged.path / "item_popularity.parquet"
            )
            staged.publish()
        before.append(today)
    return store


def read_log(store: ArtifactStore, days: list[str]) -> pl.DataFrame:
    return pl.concat(
        [
            pl.read_parquet(a.path("interactions.parquet"))
            for a in store.require("raw/interactions", days)
        ]
    )


def clicked_rows(store: ArtifactStore, days: list[str]) -> pl.DataFrame:
    """Feature rows of the clicks, each with its click history, as a query tower is asked."""
    parts = [
        (
            pl.read_parquet(a.path("features.parquet")),
            pl.read_parquet(a.path("click_history.parquet")),
        )
        for a in store.require("features/interactions", days)
    ]
    return pl.concat(
        [rows.join(history, on=c.EVENT_ID, maintain_order="left") for rows, history in parts]
    )


def transforms(store: ArtifactStore, as_of: str) -> dict:
    """transforms.json, as the workflows would fit it on the training days."""
    rows = pl.concat(
        [
            pl.read_parquet(a.path("features.parquet"))
            for a in store.require("features/interactions", train_days(as_of))
        ]
    )
    items = pl.read_parquet(store.current("raw/items").path("items.parquet"))
    vocabulary = {
        name: rows[name].unique().sort().to_list()
        for name in (c.USER_ID, c.GENDER, c.TOP_CATEGORY, c.DEVICE_TYPE)
    }
    vocabulary = {
        name: [value for value in values if value != c.MISSING]
        for name, values in vocabulary.items()
    }
    vocabulary |= {
        name: items[name].unique().sort(descending=True).to_list() for name in c.ITEM_CATEGORICAL
    }
    vocabulary[c.AGE_BINNED] = [str(n) for n in range(len(c.AGE_BOUNDARIES) + 1)]
    return {
        "vocabulary": vocabulary,
        "cardinality": {name: 3 + len(values) for name, values in vocabulary.items()},
        "hashed_buckets": {},
        "age": {"mean": 40.0, "std": 12.0},
        "price_log": {"mean": 3.5, "std": 1.2},
        "age_boundaries": list(c.AGE_BOUNDARIES),
        "mean_age": 40.0,
    }


def write_generation(store: ArtifactStore, as_of: str, seed: int = 3) -> None:
    """Workflows, aligned embeddings, item vectors, popularity and linear models, as
    evaluation/offline reads them.
    """
    content, items = (
        transforms(store, as_of),
        pl.read_parquet(store.current("raw/items").path("items.parquet")),
    )
    rng = np.random.default_rng(seed)
    train = [
        store.current("features/interactions", day)
        for day in train_days(as_of)
        if store.exists("features/interactions", day)
    ]
    with store.stage("features/workflows", as_of, inputs={"train": train}) as staged:
        (staged.path / "transforms.json").write_text(json.dumps(content))
        staged.publish()
    inputs = aligned.item_tower_inputs(content, items)
    with store.stage("embeddings/aligned", as_of) as staged:
        np.savez(staged.path / "item_tower_inputs.npz", **inputs)
        table = rng.standard_normal(
            (content["cardinality"][c.ITEM_ID], 2 * c.EMBEDDING_DIM)
        ).astype(np.float32)
        table[: c.VOCABULARY_START] = 0
        np.save(staged.path / "embedding_table.npy", table)
        staged.publish()
    vectors = rng.standard_normal((items.height, c.EMBEDDING_DIM)).astype(np.float32)
    with store.stage("retrieval/item_vectors", as_of) as staged:
        np.save(
            staged.path / "item_vectors.npy",
            vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        )
        np.save(staged.path / "item_index.npy", inputs["index"])
        staged.publish()
    with store.stage("features/popularity", as_of) as staged:
        count_clicks(read_log(store, train_days(as_of)), items).write_parquet(
            staged.path / "popularity.parquet"
        )
        staged.publish()
    with store.stage("exports/onnx", as_of) as staged:
        linear_onnx.write_models(staged.path, history=2 * content["cardinality"][c.CATEGORY_L1])
        staged.publish()
