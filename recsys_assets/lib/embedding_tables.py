"""From artifact to artifact: text and image embeddings, their PCA, the table in item-index order."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, write_json
from recsys_assets.lib import pca, plots
from recsys_assets.lib.feature_tables import read_transforms
from recsys_assets.settings import Settings

Log = Callable[[str], None]


def _logged(log: Log, what: str) -> Callable[[int, int], None]:
    """A progress callback that writes a line at each tenth."""
    def progress(done: int, total: int) -> None:
        if done * 10 // total > (done - 1) * 10 // total or done == total:
            log(f"{what}: {done}/{total}")
    return progress


def _items(items: Artifact) -> pl.DataFrame:
    return pl.read_parquet(items.path("items.parquet"))


def _images(items: Artifact, frame: pl.DataFrame) -> list[bytes | None]:
    files = pl.read_parquet(items.path("images.parquet"))
    content = dict(zip(files["image"], files["content"], strict=True))
    return [content.get(name) for name in frame["image"]]


def _pair_texts(frame: pl.DataFrame) -> list[str]:
    """The text that a picture is matched with: name, style and category, the words that 24 tokens have room for."""
    return [f"{name}, {style}, {category}" for name, style, category in frame.select("name", c.CATEGORY_L2, c.CATEGORY_L1).iter_rows()]


def write_text(items: Artifact, settings: Settings, target: Path, log: Log) -> dict[str, Any]:
    """text.npy [I, 384] and item_ids.json; a text embedded before is read from the cache."""
    from recsys_assets.lib import text_embeddings

    frame = _items(items)
    texts = [text_embeddings.item_text(*row) for row in frame.select("name", "description", c.CATEGORY_L1, c.CATEGORY_L2).iter_rows()]
    cache = text_embeddings.EmbeddingCache(settings.home / "cache" / "text")
    vectors, computed = cache.get_or_compute(
        texts, lambda new: text_embeddings.embed_texts(new, _logged(log, "texts")))
    np.save(target / "text.npy", vectors, allow_pickle=False)
    write_json(target / "item_ids.json", frame[c.ITEM_ID].to_list())
    return {"rows": len(texts), "computed": computed, "model": text_embeddings.MODEL_NAME,
            "without_description": int((frame["description"].fill_null("") == "").sum())}


def write_image_encoder(items: Artifact, params: Mapping[str, Any], target: Path, log: Log) -> dict[str, Any]:
    """A CLIP in open_clip's own form: the configured checkpoint's, or one trained on the catalogue's pairs."""
    from recsys_assets.lib import image_encoder

    if params["checkpoint"]:
        encoder = image_encoder.open_checkpoint(params["checkpoint"])
        encoder.save(target)
        return {"source": params["checkpoint"]}
    frame = _items(items)
    images, texts = _images(items, frame), _pair_texts(frame)
    if sum(image is not None for image in images) < 2:
        # a shop without pictures: nothing to learn from, and nothing will be encoded either
        encoder = image_encoder.untrained_image_encoder(params["seed"])
        encoder.save(target)
        return {"source": "untrained: the catalogue has no pictures, so every image embedding is zero"}
    steps = min(params["max_steps"], params["epochs"] * math.ceil(len(texts) / params["batch_size"]))
    encoder, metrics = image_encoder.train_image_encoder(
        images, texts, steps=steps, batch=params["batch_size"], seed=params["seed"], progress=_logged(log, "CLIP step"))
    encoder.save(target)
    vectors, missing = image_encoder.encode_images(encoder, images)
    _figure(target, "contrastive_loss", plots.line_chart("Contrastive loss", metrics["loss"]))
    return {**metrics, "source": "trained on the catalogue's own image-text pairs",
            **image_encoder.retrieval_accuracy(encoder, vectors, missing, texts),
            "category_probe": image_encoder.knn_probe(vectors, missing, frame[c.CATEGORY_L1].to_list())}


def write_image(items: Artifact, encoder: Artifact, target: Path, log: Log) -> dict[str, Any]:
    """image.npy [I, D], L2-normalised, zeros where there is no picture; missing.npy bool [I]."""
    from recsys_assets.lib import image_encoder

    frame = _items(items)
    vectors, missing = image_encoder.encode_images(
        image_encoder.load_image_encoder(encoder.local), _images(items, frame), _logged(log, "pictures"))
    np.save(target / "image.npy", vectors, allow_pickle=False)
    np.save(target / "missing.npy", missing, allow_pickle=False)
    write_json(target / "item_ids.json", frame[c.ITEM_ID].to_list())
    return {"rows": len(vectors), "dim": vectors.shape[1], "missing": int(missing.sum())}


def write_item_embeddings(items: Artifact, text: Artifact, image: Artifact, target: Path) -> dict[str, Any]:
    """text.npy and image.npy, both [I, 64] by PCA; pca_text.npz, pca_image.npz; explained variance and a 2-D map."""
    ids = json.loads(text.path("item_ids.json").read_text())
    if ids != json.loads(image.path("item_ids.json").read_text()):
        raise ValueError("embeddings/text and embeddings/image hold different items; materialise both from the same raw/items")
    frame = _items(items)
    missing = np.load(image.path("missing.npy"), allow_pickle=False)
    metrics: dict[str, Any] = {"rows": len(ids)}
    projected = {}
    for name, artifact, absent in (("text", text, None), ("image", image, missing)):
        vectors = np.load(artifact.path(f"{name}.npy"), allow_pickle=False)
        if absent is not None and (~absent).sum() < 2:
            projected[name] = np.zeros((len(ids), c.EMBEDDING_DIM), np.float32)
            np.save(target / f"{name}.npy", projected[name], allow_pickle=False)
            metrics[f"{name}_explained_variance"] = 0.0
            continue
        fitted = pca.fit_pca(vectors, c.EMBEDDING_DIM, absent)
        fitted.save(target / f"pca_{name}.npz")
        projected[name] = fitted.apply(vectors, absent)
        np.save(target / f"{name}.npy", projected[name], allow_pickle=False)
        metrics[f"{name}_explained_variance"] = fitted.explained_total
        _figure(target, f"{name}_explained_variance", plots.line_chart(
            f"{name}: explained variance, cumulative", np.cumsum(fitted.explained).tolist()))
        _figure(target, f"{name}_map", plots.scatter_map(f"{name}: the catalogue", projected[name][:, :2], frame[c.CATEGORY_L1].to_list()))
    write_json(target / "item_ids.json", ids)
    return metrics


def write_aligned(workflows: Artifact, embeddings: Artifact, items: Artifact, target: Path) -> dict[str, Any]:
    """embedding_table.npy [cardinality(item_id), 128] and item_tower_inputs.npz, both by item index."""
    from recsys_assets.lib import item_tables

    transforms = read_transforms(workflows)
    table, counts = item_tables.align_embeddings(
        transforms, json.loads(embeddings.path("item_ids.json").read_text()),
        np.load(embeddings.path("text.npy"), allow_pickle=False), np.load(embeddings.path("image.npy"), allow_pickle=False))
    np.save(target / "embedding_table.npy", table, allow_pickle=False)
    inputs = item_tables.item_tower_inputs(transforms, _items(items))
    np.savez(target / "item_tower_inputs.npz", **inputs)
    return {"rows": len(table), **counts}


def _figure(target: Path, name: str, markdown: str) -> None:
    """A Markdown figure inside the artifact; `reporting` shows every one of them in the UI."""
    (target / "figures").mkdir(exist_ok=True)
    (target / "figures" / f"{name}.md").write_text(markdown)
