"""Embed the texts and pictures of a catalogue, with the caches of a home."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.settings import Settings

Log = Callable[[str], None]


def logged(log: Log, what: str) -> Callable[[int, int], None]:
    """Return a progress callback that logs a line at each tenth."""

    def progress(done: int, total: int) -> None:
        if done * 10 // total > (done - 1) * 10 // total or done == total:
            log(f"{what}: {done}/{total}")

    return progress


def read_items(items: Artifact) -> pl.DataFrame:
    """Return the catalogue of raw/items."""
    return pl.read_parquet(items.path("items.parquet"))


def pictures_of(items: Artifact, frame: pl.DataFrame) -> list[bytes | None]:
    """Return each item's picture file, or None."""
    files = pl.read_parquet(items.path("images.parquet"))
    content = dict(zip(files["image"], files["content"], strict=True))
    return [content.get(name) for name in frame["image"]]


def pair_texts(frame: pl.DataFrame) -> list[str]:
    """Return the texts that pictures are matched with, short enough for 24 tokens."""
    return [
        f"{name}, {style}, {category}"
        for name, style, category in frame.select("name", c.CATEGORY_L2, c.CATEGORY_L1).iter_rows()
    ]


def item_texts(frame: pl.DataFrame) -> list[str]:
    """Return the text of each item, empty where nothing but the id is known."""
    from recsys_assets.lib.embeddings import text as text_embeddings

    def given(category: str | None) -> str | None:
        return None if category == c.UNKNOWN_CATEGORY else category

    rows = frame.select(c.ITEM_ID, "name", "description", c.CATEGORY_L1, c.CATEGORY_L2).iter_rows()
    return [
        text_embeddings.item_text(
            None if name == item_id else name, description, given(l1), given(l2)
        )
        for item_id, name, description, l1, l2 in rows
    ]


def text_vectors(
    frame: pl.DataFrame, settings: Settings, log: Log
) -> tuple[np.ndarray, np.ndarray, int]:
    """Embed the texts of I items by the encoder of the settings.

    Returns:
        Vectors float32 [I, D] (zeros without a text), missing bool [I], and the number of texts
        that the cache lacked. D is the encoder's width.

    Raises:
        TextEncoderError: the configured encoder cannot be opened.
    """
    from recsys_assets.lib.embeddings import text as text_embeddings
    from recsys_assets.lib.embeddings.text_encoder import find_text_encoder

    texts = item_texts(frame)
    encoder = find_text_encoder(settings.text_encoder)
    missing = np.array([not text for text in texts], bool)
    cache = text_embeddings.EmbeddingCache(settings.home / "cache" / "text", encoder.key)
    found, computed = cache.get_or_compute(
        [text for text in texts if text],
        lambda new: text_embeddings.embed_texts(new, logged(log, "texts"), encoder),
    )
    width = text_embeddings.TEXT_DIM if missing.all() else found.shape[1]
    vectors = np.zeros((len(texts), width), np.float32)
    if not missing.all():
        vectors[~missing] = found
    return vectors, missing, computed


def image_vectors(
    items: Artifact, frame: pl.DataFrame, encoder: Path, digest: str, settings: Settings, log: Log
) -> tuple[np.ndarray, np.ndarray, int]:
    """Embed the pictures of I items; see ``image_encoder.encode_cached``."""
    from recsys_assets.lib.embeddings import image_encoder

    return image_encoder.encode_cached(
        encoder,
        digest,
        pictures_of(items, frame),
        settings.home / "cache" / "image",
        logged(log, "pictures"),
    )


def digest_of(encoder: Artifact) -> str:
    """Return ``image_encoder.encoder_digest`` of embeddings/image_encoder."""
    from recsys_assets.lib.embeddings import image_encoder as ie

    files = encoder.manifest["files"]
    return ie.encoder_digest(files[ie.WEIGHTS_FILE]["sha256"], files[ie.CONFIG_FILE]["sha256"])
