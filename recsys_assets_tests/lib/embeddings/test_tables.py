"""Test embedding artifacts: missing texts, items without clicks, mixed generations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.embeddings import tables
from recsys_assets.lib.simulator import catalogue
from recsys_assets.settings import Settings
from recsys_assets_tests.lib.embeddings.test_aligned import TRANSFORMS


def silent(_: str) -> None:
    return None


def publish(store: ArtifactStore, kind: str, write, **inputs: Artifact | str) -> Artifact:
    with store.stage(kind, inputs=inputs) as staged:
        return staged.publish(write(staged.path) or {})


def test_an_item_without_any_text_is_zeros_and_counted(tmp_path: Path):
    nothing = {
        "name": pl.col("item_id"),
        "description": pl.lit(""),
        "category_l1": pl.lit("unknown"),
        "category_l2": pl.lit("unknown"),
    }
    named = catalogue.synthetic_catalogue(20, seed=1)
    frame = pl.concat(
        [named[:3], named[3:5].with_columns(**nothing)]
    )  # as ingest fills in an item that only a log names
    store = ArtifactStore(tmp_path / "artifacts")
    items = publish(
        store, "raw/items", lambda target: frame.write_parquet(target / "items.parquet")
    )
    text = publish(
        store,
        "embeddings/text",
        lambda target: tables.write_text(items, Settings(home=tmp_path), target, silent),
    )
    vectors = np.load(text.path("text.npy"))
    assert text.metrics["missing"] == 2 and text.metrics["computed"] == 3
    assert np.load(text.path("missing.npy")).tolist() == [False, False, False, True, True]
    assert vectors[:3].any(axis=1).all() and not vectors[3:].any()


def test_an_item_without_clicks_has_no_id_of_its_own(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    frame = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "category_l1": ["tools", "books", "tools"],
            "category_l2": ["drill", "novel", "drill"],
            "item_gender": ["F", "Any", "F"],
            "price": [1.0, 2.0, 3.0],
        }
    )

    def embedded(target: Path) -> None:
        (target / "item_ids.json").write_text(json.dumps(["a", "b", "c"]))
        for name in ("text", "image"):
            np.save(target / f"{name}.npy", np.ones((3, 64), np.float32))

    items = publish(
        store, "raw/items", lambda target: frame.write_parquet(target / "items.parquet")
    )
    workflows = publish(
        store,
        "features/workflows",
        lambda target: (target / "transforms.json").write_text(json.dumps(TRANSFORMS)) and None,
    )
    embeddings = publish(store, "embeddings/items", embedded)
    popularity = publish(
        store,
        "features/popularity",
        lambda target: pl.DataFrame(
            {"item_id": ["a", "b", "c"], "clicks": [7, 0, 1]}
        ).write_parquet(target / "popularity.parquet"),
    )
    aligned = publish(
        store,
        "embeddings/aligned",
        lambda target: tables.write_aligned(workflows, embeddings, items, popularity, target),
    )
    with np.load(aligned.path("item_tower_inputs.npz")) as inputs:
        assert inputs["index"].tolist() == [4, 5, 3] and inputs["cat"][:, 0].tolist() == [4, 2, 3]
    assert aligned.metrics["by_content_alone"] == 1
    assert np.load(aligned.path("embedding_table.npy"))[
        5
    ].all()  # its content is where its index is


def test_vectors_of_one_encoder_and_a_pca_of_another_are_refused(tmp_path: Path):
    store = ArtifactStore(tmp_path)

    def ids(target: Path) -> None:
        (target / "item_ids.json").write_text('["a"]')

    one, other = (
        publish(store, f"embeddings/encoder_{n}", lambda t, n=n: (t / "w").write_text(n) and None)
        for n in "12"
    )
    text = publish(store, "embeddings/text", ids)
    image = publish(store, "embeddings/image", ids, encoder=one)
    fitted = publish(store, "embeddings/pca", ids, encoder=other)
    with pytest.raises(ValueError, match="from different image encoders"):
        tables.write_item_embeddings(text, text, image, fitted, tmp_path)
