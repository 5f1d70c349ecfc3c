"""Embed item texts by Sentence-BERT, with a cache of vectors.

The precision is float32: on CPUs with AVX-512 and two cores all-MiniLM-L6-v2 encodes 113 texts per
second, with bfloat16 only 74.
"""

from __future__ import annotations

import hashlib
import uuid
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.files import replacing
from recsys_assets.lib.embeddings.text_encoder import (
    MODEL_NAME,
    TextEncoder,
    TextEncoderError,
    find_text_encoder,
    open_model,
)

#: Width of the default encoder.
TEXT_DIM = 384
BATCH = 64

#: Called with (done, total).
Progress = Callable[[int, int], None]


def embed_texts(
    texts: Sequence[str], progress: Progress | None = None, encoder: TextEncoder | None = None
) -> np.ndarray:
    """Embed N texts.

    Texts of similar length share a batch, which keeps padding small.

    Args:
        texts: the texts.
        progress: called after each batch.
        encoder: the model; None: the default one.

    Returns:
        float32 [N, D], L2-normalised, in the given order; D is the encoder's width (384 of the
        default one, and without a text).

    Raises:
        TextEncoderError: the encoder cannot be opened, or gives values that are not finite.
    """
    if not len(texts):
        return np.zeros((0, TEXT_DIM), np.float32)
    encoder = encoder or find_text_encoder(None)
    model = open_model(encoder)
    order = sorted(range(len(texts)), key=lambda i: (-len(texts[i]), i))
    parts: list[np.ndarray] = []
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        part = model.encode(
            [texts[i] for i in rows],
            batch_size=BATCH,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
        parts.append(np.asarray(part, np.float32))
        if progress is not None:
            progress(start + len(rows), len(order))
    found = np.concatenate(parts)
    if not np.isfinite(found).all():
        raise TextEncoderError(
            f"RECSYS_TEXT_ENCODER: {encoder.name} gives vectors with values that are not finite; "
            "name another model"
        )
    vectors = np.empty_like(found)
    vectors[order] = found
    return vectors


def item_text(
    name: str | None, description: str | None, category_l1: str | None, category_l2: str | None
) -> str:
    """Return the text to embed for an item: name, description and categories, if any."""
    categories = ", ".join(c.replace("_", " ") for c in (category_l2, category_l1) if c)
    return ". ".join(
        part.strip().rstrip(".")
        for part in (name, description, categories)
        if part and part.strip()
    )


class EmbeddingCache:
    """Keeps vectors by content digest in a folder, across runs.

    A key is the SHA-256 of model and content, so a changed text or another model gets a new vector.
    The folder holds segments (``.npz`` of keys and vectors, no pickle) that are only added, each by
    an atomic rename. Parallel writers are therefore safe, and a reader sees only whole segments.

    Args:
        folder: the folder of all caches; each model has its own folder in it.
        model: name of the model and everything else that changes its output (weights digest, length
            limit).
    """

    def __init__(self, folder: Path, model: str = MODEL_NAME) -> None:
        self.model = model
        self.folder = Path(folder) / hashlib.sha256(model.encode()).hexdigest()[:16]

    def key(self, content: str | bytes) -> str:
        """Return the key of a content."""
        data = content.encode() if isinstance(content, str) else content
        return hashlib.sha256(self.model.encode() + b"\0" + data).hexdigest()

    def _load(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with np.load(path, allow_pickle=False) as segment:
                    keys, vectors = segment["keys"], segment["vectors"]
            except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                raise ValueError(
                    f"{path} is not a segment of the embedding cache ({error}); delete it: its "
                    "vectors are then computed again"
                ) from error
            found.update(zip((key.decode() for key in keys), vectors, strict=True))
        return found

    def _append(self, keys: Sequence[str], vectors: np.ndarray) -> None:
        target = self.folder / f"{uuid.uuid4().hex}.npz"
        with replacing(target) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, keys=np.array(keys, dtype="S64"), vectors=vectors)

    def get_or_compute(
        self, contents: Sequence[str | bytes], compute: Callable[[list[Any]], np.ndarray]
    ) -> tuple[np.ndarray, int]:
        """Return the vectors of all contents; compute each distinct unknown one once.

        Args:
            contents: N texts or file contents.
            compute: list of M contents → float32 [M, D].

        Returns:
            float32 [N, D] in the given order, and how many vectors were computed.

        Raises:
            ValueError: a segment of the cache is broken, or compute returns another shape.
        """
        keys = [self.key(content) for content in contents]
        known = self._load()
        new: dict[str, str | bytes] = {}
        for key, content in zip(keys, contents, strict=True):
            if key not in known:
                new.setdefault(key, content)
        if new:
            vectors = np.asarray(compute(list(new.values())), np.float32)
            if vectors.ndim != 2 or len(vectors) != len(new):
                raise ValueError(
                    f"compute returned shape {vectors.shape} for {len(new)} contents; expected "
                    f"[{len(new)}, D]"
                )
            self._append(list(new), vectors)
            known.update(zip(new, vectors, strict=True))
        rows = [known[key] for key in keys]
        return (np.stack(rows) if rows else np.zeros((0, 0), np.float32)), len(new)
