"""A small catalogue that was embedded by the real encoders, and a generation of linear models."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.embeddings import language, tables
from recsys_assets.lib.embeddings.image_encoder import untrained_image_encoder
from recsys_assets.lib.retrieval import index
from recsys_assets.lib.retrieval.tables import load_vectors, write_item_vectors
from recsys_assets.lib.simulator.catalogue import synthetic_catalogue
from recsys_assets.settings import Settings
from recsys_assets_tests.support import linear_onnx, tiny_payload

DAY = "2026-11-27"


def silent(_: str) -> None:
    return None


def catalogue(items: int, without_picture: tuple[int, ...] = ()) -> pl.DataFrame:
    """RAW_ITEMS with ids i0, i1, …, each with a text and a picture, but those rows."""
    frame = synthetic_catalogue(items, seed=4)
    pictures = ["" if n in without_picture else f"{n}.png" for n in range(items)]
    return frame.with_columns(
        pl.Series(c.ITEM_ID, [f"i{n}" for n in range(items)]), pl.Series("image", pictures)
    ).select(*c.RAW_ITEMS)


def picture(number: int) -> bytes:
    """A small PNG whose pixels depend on the number."""
    pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def publish_items(store: ArtifactStore, frame: pl.DataFrame) -> Artifact:
    """raw/items of a catalogue."""
    names = [name for name in frame["image"] if name]
    images = pl.DataFrame(
        {"image": names, "content": [picture(int(name.split(".")[0])) for name in names]},
        schema={"image": pl.String, "content": pl.Binary},
    )
    with store.stage("raw/items", params={"items": frame.height}) as staged:
        frame.write_parquet(staged.path / "items.parquet")
        images.write_parquet(staged.path / "images.parquet")
        return staged.publish()


def without_content(store: ArtifactStore, day: str) -> Artifact:
    """embeddings/items of a shop that has neither texts nor pictures, so that no PCA was fitted."""

    def publish(kind: str, **inputs: Artifact) -> Artifact:
        with store.stage(kind, day, inputs=inputs) as staged:
            (staged.path / "none").touch()
            return staged.publish()

    image, fitted = publish("embeddings/image"), publish("embeddings/pca")
    return publish("embeddings/items", image=image, fitted=fitted)


@dataclass(frozen=True)
class Embedded:
    """The embeddings of a catalogue, by the encoders and the PCA of its first version."""

    items: Artifact
    encoder: Artifact
    fitted: Artifact
    embeddings: Artifact


def embed(
    store: ArtifactStore,
    settings: Settings,
    items: Artifact,
    before: Embedded | None = None,
    recorded: Mapping[str, Any] | None = None,
) -> Embedded:
    """Embed a catalogue as the graph does.

    before: whose encoder and PCA are taken. recorded: text encoder that the PCA names; None: the
    one that it is.
    """

    def publish(kind: str, write: Callable[[Path], Any], **inputs: Artifact) -> Artifact:
        params = language.text_params(settings) if kind != "embeddings/pca" else named
        with store.stage(kind, inputs=inputs, params=params) as staged:
            return staged.publish(write(staged.path) or {})

    named = recorded or language.text_params(settings)
    text = publish(
        "embeddings/text", lambda t: tables.write_text(items, settings, t, silent), items=items
    )
    if before is None:
        encoder = publish("embeddings/image_encoder", lambda t: untrained_image_encoder(5).save(t))
        fitted = publish(
            "embeddings/pca",
            lambda t: tables.write_pca(items, encoder, settings, t, silent),
            items=items,
            encoder=encoder,
        )
    else:
        encoder, fitted = before.encoder, before.fitted
    made = {"items": items, "encoder": encoder}
    image = publish(
        "embeddings/image",
        lambda t: tables.write_image(items, encoder, settings, t, silent),
        **made,
    )
    parts = {"items": items, "text": text, "image": image, "fitted": fitted}

    def joined(target: Path) -> Any:
        if recorded is not None:  # of another text encoder, only in name
            for name in ("text", "image"):
                np.save(target / f"{name}.npy", np.zeros((text.metrics["rows"], 64), np.float32))
            ids = pl.read_parquet(items.path("items.parquet"))[c.ITEM_ID].to_list()
            return (target / "item_ids.json").write_text(json.dumps(ids)) and {}
        return tables.write_item_embeddings(**parts, target=target)

    return Embedded(items, encoder, fitted, publish("embeddings/items", joined, **parts))


def transforms(frame: pl.DataFrame, buckets: int = 0) -> dict[str, Any]:
    """transforms.json whose vocabularies are those of a catalogue."""
    content = tiny_payload.transforms()
    vocabulary = {
        **content["vocabulary"],
        c.ITEM_ID: frame[c.ITEM_ID].to_list(),
        **{
            name: frame[name].drop_nulls().unique().sort().to_list()
            for name in (c.CATEGORY_L1, c.CATEGORY_L2, c.ITEM_GENDER)
        },
    }
    hashed = {c.USER_ID: 0, c.ITEM_ID: buckets}
    cardinality = {name: 3 + len(one) + hashed.get(name, 0) for name, one in vocabulary.items()}
    return {
        **content,
        "vocabulary": vocabulary,
        "cardinality": cardinality,
        "hashed_buckets": hashed,
    }


@dataclass(frozen=True)
class Trained:
    """The artifacts of a generation, and the weights of its item tower."""

    workflows: Artifact
    aligned: Artifact
    vectors: Artifact
    faiss_index: Artifact
    tower: dict[str, np.ndarray]

    @property
    def inputs(self) -> dict[str, Artifact]:
        """Those of a release."""
        return {
            "workflows": self.workflows,
            "aligned": self.aligned,
            "faiss_index": self.faiss_index,
        }


def train(store: ArtifactStore, embedded: Embedded, buckets: int = 0) -> Trained:
    """Write the item side of a generation: the item tower is a linear ONNX model."""
    frame = pl.read_parquet(embedded.items.path("items.parquet"))
    with store.stage("features/workflows", DAY) as staged:
        content = transforms(frame, buckets)
        (staged.path / "transforms.json").write_text(json.dumps(content))
        workflows = staged.publish()
    with store.stage("features/popularity", DAY) as staged:
        clicks = pl.DataFrame({c.ITEM_ID: frame[c.ITEM_ID], "clicks": [*range(frame.height)]})
        clicks.write_parquet(staged.path / "popularity.parquet")
        popularity = staged.publish()
    parts = {
        "workflows": workflows,
        "embeddings": embedded.embeddings,
        "items": embedded.items,
        "popularity": popularity,
    }
    with store.stage("embeddings/aligned", DAY, inputs=parts) as staged:
        aligned = staged.publish(tables.write_aligned(**parts, target=staged.path))
    with store.stage("retrieval/two_tower", DAY) as staged:
        weights = linear_onnx.write_models(staged.path)
        two_tower = staged.publish()
    made = {"two_tower": two_tower, "aligned": aligned}
    with store.stage("retrieval/item_vectors", DAY, inputs=made) as staged:
        vectors = staged.publish(write_item_vectors(two_tower, aligned, staged.path))
    made = {"item_vectors": vectors, "two_tower": two_tower}
    with store.stage("retrieval/faiss_index", DAY, inputs=made) as staged:
        built = index.build_index(*load_vectors(vectors))
        index.save_index(built, staged.path / "index.faiss")
        faiss_index = staged.publish()
    return Trained(workflows, aligned, vectors, faiss_index, weights["item_tower.onnx"])
