"""Build the artifacts of text and image embeddings, PCA and the aligned table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.files import sha256_file, write_json
from recsys_assets.lib.embeddings import language, pca
from recsys_assets.lib.embeddings.catalogue_vectors import (
    Log,
    digest_of,
    image_vectors,
    logged,
    pair_texts,
    pictures_of,
    read_items,
    text_vectors,
)
from recsys_assets.lib.features.batch_transform import read_transforms
from recsys_assets.lib.figures import plots
from recsys_assets.release_files import EMBEDDING_TABLE, ITEM_TOWER_INPUTS
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    from recsys_assets.lib.embeddings.image_encoder import ImageEncoder


def write_text(items: Artifact, settings: Settings, target: Path, log: Log) -> dict[str, Any]:
    """Write text.npy [I, D], missing.npy bool [I] and item_ids.json; return metrics.

    An item without a text has zeros. The vector of a known text comes from the cache. The metrics
    name the encoder and say how well it knows the words (``token_coverage``).

    Raises:
        TextEncoderError: the configured encoder cannot be opened.
    """
    frame = read_items(items)
    vectors, missing, computed = text_vectors(frame, settings, log)
    _write_vectors(target, "text", frame, vectors, missing)
    metrics: dict[str, Any] = {
        "rows": len(vectors),
        "dim": vectors.shape[1],
        "computed": computed,
        "missing": int(missing.sum()),
        "without_description": int((frame["description"].fill_null("") == "").sum()),
        **language.text_params(settings),
    }
    if (found := language.coverage_of(frame, settings.text_encoder)) is not None:
        metrics["language"] = language.metrics_of(found)
        if not found.known:
            log(f"warning: {found.sentences[-1]}")
    return metrics


def encoder_params(
    settings: Settings, architecture: str, training: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parameters of the image encoder.

    They name the configured checkpoint and its version, or the seed and ``training``.

    Raises:
        CheckpointError: the configured checkpoint cannot be reached.
    """
    from recsys_assets.lib.embeddings import clip_checkpoint

    if settings.clip_checkpoint:
        return {
            "checkpoint": settings.clip_checkpoint,
            "architecture": architecture,
            "version": clip_checkpoint.checkpoint_version(settings.clip_checkpoint),
        }
    return {"checkpoint": None, "seed": settings.seed, **training}


def write_image_encoder(
    items: Artifact, params: Mapping[str, Any], settings: Settings, target: Path, log: Log
) -> dict[str, Any]:
    """Write a CLIP in open_clip's form; return the metrics.

    It is the configured checkpoint, or a small CLIP trained on the catalogue's image-text pairs.

    Args:
        items: raw/items.
        params: from ``encoder_params``.
        settings: name the folder of the caches.
        target: the artifact's folder.
        log: receives lines of text.
    """
    from recsys_assets.lib.embeddings import image_encoder as ie

    frame = read_items(items)
    images, texts = pictures_of(items, frame), pair_texts(frame)
    encoder, metrics = _make_encoder(images, texts, params, log)
    if "loss" in metrics:
        _figure(
            target,
            "contrastive_loss",
            plots.line_chart(
                "Contrastive loss, mean of each twentieth of the steps", metrics["loss"]
            ),
        )
    encoder.save(target)
    digest = ie.encoder_digest(
        sha256_file(target / ie.WEIGHTS_FILE), sha256_file(target / ie.CONFIG_FILE)
    )
    vectors, missing, _ = image_vectors(items, frame, target, digest, settings, log)
    return {**metrics, "dim": encoder.dim, **_quality(encoder, vectors, missing, frame, texts)}


def _make_encoder(
    images: list[bytes | None], texts: list[str], params: Mapping[str, Any], log: Log
) -> tuple[ImageEncoder, dict[str, Any]]:
    """Open the configured checkpoint or train a small CLIP; return it and its metrics."""
    from recsys_assets.lib.embeddings import clip_checkpoint
    from recsys_assets.lib.embeddings import image_encoder as ie

    metrics: dict[str, Any] = {"pretrained": bool(params["checkpoint"])}
    if params["checkpoint"]:
        encoder = clip_checkpoint.open_checkpoint(params["checkpoint"], params["architecture"])
        return encoder, metrics | {"source": f"pretrained weights: {params['checkpoint']}"}
    if sum(ie.decode_image(image) is not None for image in images) < 2:
        # One picture has no other to differ from; the PCA is left out too.
        return ie.untrained_image_encoder(params["seed"]), metrics | {
            "source": "untrained: fewer than two products have a picture, so every image embedding "
            "is zero"
        }
    steps = min(
        params["max_steps"], params["epochs"] * math.ceil(len(texts) / params["batch_size"])
    )
    encoder, trained = ie.train_image_encoder(
        images,
        texts,
        steps=steps,
        batch=params["batch_size"],
        seed=params["seed"],
        progress=logged(log, "CLIP step"),
    )
    return encoder, {
        **metrics,
        **trained,
        "source": "not pretrained: a small CLIP trained on the catalogue's own image-text pairs "
        "alone",
    }


def _quality(
    encoder: ImageEncoder,
    vectors: np.ndarray,
    missing: np.ndarray,
    frame: pl.DataFrame,
    texts: list[str],
) -> dict[str, Any]:
    from recsys_assets.lib.embeddings import encoder_quality as quality

    rows = quality.sample_rows(missing)
    if len(rows) < 2:
        return {}
    colours = quality.named_colours(frame["name"].to_list(), frame["description"].to_list())
    categories = frame[c.CATEGORY_L1].to_list()
    return {
        "image_to_text": quality.image_to_text(
            encoder, vectors[rows], [texts[row] for row in rows]
        ),
        "category_probe": quality.knn_probe(vectors[rows], [categories[row] for row in rows]),
        "colour_probe": quality.linear_probe(vectors[rows], [colours[row] for row in rows]),
    }


def write_image(
    items: Artifact, encoder: Artifact, settings: Settings, target: Path, log: Log
) -> dict[str, Any]:
    """Write image.npy [I, D], missing.npy bool [I] and item_ids.json; return metrics.

    Vectors are L2-normalised; an item without a picture has zeros. The vector of a known picture
    comes from the cache.
    """
    frame = read_items(items)
    vectors, missing, computed = image_vectors(
        items, frame, encoder.local, digest_of(encoder), settings, log
    )
    _write_vectors(target, "image", frame, vectors, missing)
    return {
        "rows": len(vectors),
        "dim": vectors.shape[1],
        "computed": computed,
        "missing": int(missing.sum()),
    }


def _write_vectors(
    target: Path, name: str, frame: pl.DataFrame, vectors: np.ndarray, missing: np.ndarray
) -> None:
    np.save(target / f"{name}.npy", vectors, allow_pickle=False)
    np.save(target / "missing.npy", missing, allow_pickle=False)
    write_json(target / "item_ids.json", frame[c.ITEM_ID].to_list())


def write_pca(
    items: Artifact, encoder: Artifact, settings: Settings, target: Path, log: Log
) -> dict[str, Any]:
    """Write pca_text.npz and pca_image.npz, and plot the explained variance.

    A file is left out if fewer than two items have a text or picture.

    Args:
        items: the raw/items of the training catalogue; its vectors come from the cache.
        encoder: embeddings/image_encoder.
        settings: name the folder of the caches.
        target: the artifact's folder.
        log: receives lines of text.

    Returns:
        The metrics.
    """
    frame = read_items(items)
    sources = {
        "text": text_vectors(frame, settings, log),
        "image": image_vectors(items, frame, encoder.local, digest_of(encoder), settings, log),
    }
    metrics: dict[str, Any] = {"rows": frame.height}
    for name, (vectors, missing, _) in sources.items():
        metrics |= {f"{name}_fitted_on": int((~missing).sum()), f"{name}_explained_variance": 0.0}
        if (~missing).sum() < 2:
            continue
        fitted = pca.fit_pca(vectors, c.EMBEDDING_DIM, missing)
        fitted.save(target / f"pca_{name}.npz")
        metrics[f"{name}_explained_variance"] = fitted.explained_total
        _figure(
            target,
            f"{name}_explained_variance",
            plots.line_chart(
                f"{name}: explained variance, cumulative", np.cumsum(fitted.explained).tolist()
            ),
        )
    return metrics


def write_item_embeddings(
    items: Artifact, text: Artifact, image: Artifact, fitted: Artifact, target: Path
) -> dict[str, Any]:
    """Write text.npy and image.npy, both [I, 64] by the stored PCA, and plot maps.

    A missing text or picture has zeros.

    Args:
        items: raw/items.
        text: embeddings/text.
        image: embeddings/image.
        fitted: embeddings/pca.
        target: the artifact's folder.

    Returns:
        The metrics.

    Raises:
        ValueError: the artifacts are of different items or image encoders.
    """
    ids = json.loads(text.path("item_ids.json").read_text())
    if ids != json.loads(image.path("item_ids.json").read_text()):
        raise ValueError(
            "embeddings/text and embeddings/image hold different items; materialise both from the "
            "same raw/items"
        )
    encoders = {
        artifact.kind: artifact.manifest["inputs"]["encoder"]["digest"]
        for artifact in (image, fitted)
    }
    if len(set(encoders.values())) > 1:
        raise ValueError(
            f"embeddings/image and embeddings/pca are from different image encoders ({encoders}); "
            "materialise both again"
        )
    encoder_of_texts = language.encoder_of_texts(text)
    if encoder_of_texts != language.encoder_of_texts(fitted):
        raise ValueError(
            f"embeddings/text and embeddings/pca are from different text encoders "
            f"({encoder_of_texts} and {language.encoder_of_texts(fitted)}); materialise both again"
        )
    categories = read_items(items)[c.CATEGORY_L1].to_list()
    metrics: dict[str, Any] = {"rows": len(ids), **dict(encoder_of_texts)}
    for name, artifact in (("text", text), ("image", image)):
        vectors = np.load(artifact.path(f"{name}.npy"), allow_pickle=False)
        missing = np.load(artifact.path("missing.npy"), allow_pickle=False)
        projected = np.zeros((len(ids), c.EMBEDDING_DIM), np.float32)
        # without a text, the width of the encoder is not known
        if f"pca_{name}.npz" in fitted.manifest["files"] and not missing.all():
            projected = pca.Pca.load(fitted.path(f"pca_{name}.npz")).apply(vectors, missing)
            _figure(
                target,
                f"{name}_map",
                plots.scatter_map(
                    f"{name}: the catalogue",
                    projected[~missing][:, :2],
                    [categories[row] for row in np.flatnonzero(~missing)],
                ),
            )
        np.save(target / f"{name}.npy", projected, allow_pickle=False)
        metrics[f"without_{name}"] = int(missing.sum())
    write_json(target / "item_ids.json", ids)
    return metrics


def write_aligned(
    workflows: Artifact, embeddings: Artifact, items: Artifact, popularity: Artifact, target: Path
) -> dict[str, Any]:
    """Write embedding_table.npy and item_tower_inputs.npz; return the metrics.

    The table is float32 [cardinality(item_id), 128], by item index. The inputs are those of
    ``aligned.item_tower_inputs``.

    Args:
        workflows: features/workflows.
        embeddings: embeddings/items.
        items: raw/items.
        popularity: clicks of every item in the training days; an item without a click is packed as
            out-of-vocabulary.
        target: the artifact's folder.
    """
    from recsys_assets.lib.embeddings import aligned

    transforms = read_transforms(workflows)
    table, counts = aligned.align_embeddings(
        transforms,
        json.loads(embeddings.path("item_ids.json").read_text()),
        np.load(embeddings.path("text.npy"), allow_pickle=False),
        np.load(embeddings.path("image.npy"), allow_pickle=False),
    )
    np.save(target / EMBEDDING_TABLE, table, allow_pickle=False)
    clicked = pl.read_parquet(popularity.path("popularity.parquet")).filter(pl.col("clicks") > 0)[
        c.ITEM_ID
    ]
    frame = read_items(items)
    without = set(frame[c.ITEM_ID]) - set(clicked)
    inputs = aligned.item_tower_inputs(transforms, frame, without)
    np.savez(target / ITEM_TOWER_INPUTS, allow_pickle=False, **inputs)
    of_texts = {name: embeddings.metrics.get(name) for name in language.TEXT_ENCODER}
    return {"rows": len(table), "by_content_alone": len(without), **counts, **of_texts}


def _figure(target: Path, name: str, markdown: str) -> None:
    """Write a Markdown figure into the artifact; ``reporting`` shows it in the UI."""
    (target / "figures").mkdir(exist_ok=True)
    (target / "figures" / f"{name}.md").write_text(markdown)
