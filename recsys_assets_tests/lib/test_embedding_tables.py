"""A shop without pictures goes the whole way: an untrained encoder, zero vectors, everything counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib import catalogue, embedding_tables

PARAMS = {"checkpoint": None, "seed": 1, "epochs": 1, "max_steps": 1, "batch_size": 8}


def silent(_: str) -> None:
    return None


def publish(store: ArtifactStore, kind: str, write) -> Artifact:
    with store.stage(kind) as staged:
        return staged.publish(write(staged.path))


def test_a_catalogue_without_pictures_has_zero_image_embeddings(tmp_path: Path):
    store, frame = ArtifactStore(tmp_path), catalogue.synthetic_catalogue(70, seed=1)

    def shop(target: Path) -> dict:
        frame.with_columns(pl.lit("").alias("image")).write_parquet(target / "items.parquet")
        pl.DataFrame(schema={"image": pl.String, "content": pl.Binary}).write_parquet(target / "images.parquet")
        return {}

    def texts(target: Path) -> dict:
        np.save(target / "text.npy", np.random.default_rng(0).normal(size=(70, 384)).astype(np.float32))
        (target / "item_ids.json").write_text(json.dumps(frame["item_id"].to_list()))
        return {}

    items = publish(store, "raw/items", shop)
    text = publish(store, "embeddings/text", texts)
    encoder = publish(store, "embeddings/image_encoder", lambda t: embedding_tables.write_image_encoder(items, PARAMS, t, silent))
    assert "no pictures" in encoder.metrics["source"]
    image = publish(store, "embeddings/image", lambda t: embedding_tables.write_image(items, encoder, t, silent))
    assert image.metrics["missing"] == image.metrics["rows"] == 70
    both = publish(store, "embeddings/items", lambda t: embedding_tables.write_item_embeddings(items, text, image, t))
    assert not np.load(both.path("image.npy")).any() and np.load(both.path("text.npy")).any()
    assert both.metrics["image_explained_variance"] == 0.0 and both.metrics["text_explained_variance"] > 0.5
