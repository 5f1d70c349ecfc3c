"""Writes the item files of a fine-tune whose release gets new items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.columns import VOCABULARY_START
from recsys_assets.files import read_json
from recsys_assets.lib.features.batch_transform import item_vocabulary
from recsys_assets.lib.release.contents import display_data, dump, place
from recsys_assets.lib.release.item_parts import ENTERED_FILE
from recsys_assets.lib.release.releases import Release, ReleaseError, read_display
from recsys_assets.lib.retrieval.similar_items import similar_to
from recsys_assets.release_files import (
    EMBEDDING_TABLE,
    IMAGES_FILE,
    INDEX,
    ITEM_IDS_FILE,
    SIMILAR_FILE,
    TRANSFORMS,
    model_file,
    models_with,
)

#: Files of models that name items, as ``fine_tune/items`` has them.
_OF_ITEMS = (TRANSFORMS, INDEX, EMBEDDING_TABLE)
#: Models that get their own version where a fine-tune adds items.
GROWN = tuple(
    dict.fromkeys(model for name in (*_OF_ITEMS, ITEM_IDS_FILE) for model in models_with(name))
)


def item_files() -> set[str]:
    """Return the files of a release that ``write_item_files`` writes."""
    of_models = {
        model_file(model, name)
        for name in (*_OF_ITEMS, ITEM_IDS_FILE)
        for model in models_with(name)
    }
    return {*of_models, ITEM_IDS_FILE, IMAGES_FILE, SIMILAR_FILE}


def write_item_files(folder: Path, before: Release, added: Artifact) -> None:
    """Write the files of a release whose items are those of another one, and new ones.

    What they say of the other one's items stays: indices, vectors, pictures and similar items. The
    similar items of a new one come from the grown index.

    Args:
        folder: of the release.
        before: the release that has the items before.
        added: ``fine_tune/items``, with new items.

    Raises:
        ReleaseError: the items before are others than those of the release.
    """
    known, item_ids = read_json(before.artifact.path(ITEM_IDS_FILE)), item_vocabulary(added)
    if item_ids[: len(known)] != known or item_ids[len(known) :] != read_json(
        added.path(ENTERED_FILE)
    ):
        raise ReleaseError(
            f"{added.kind} [{added.partition}] adds items to others than those of release "
            f"{before.number}; materialise {added.kind} again"
        )
    for name in _OF_ITEMS:
        for model in models_with(name):
            place(added.path(name), folder / model_file(model, name))
    for path in (
        ITEM_IDS_FILE,
        *(model_file(one, ITEM_IDS_FILE) for one in models_with(ITEM_IDS_FILE)),
    ):
        dump(folder / path, item_ids)
    images = pl.concat([pl.read_parquet(one.path(IMAGES_FILE)) for one in (before.artifact, added)])
    images.unique("image", keep="first", maintain_order=True).write_parquet(folder / IMAGES_FILE)
    similar = np.load(before.artifact.path(SIMILAR_FILE), allow_pickle=False)
    further = similar_to(added.path(INDEX), VOCABULARY_START + len(known), similar.shape[1])
    np.save(folder / SIMILAR_FILE, np.concatenate([similar, further]), allow_pickle=False)


def display_of(before: Release, new: pl.DataFrame | None) -> dict[str, dict[str, object]]:
    """Return what a page shows of the items of a release, and of new ones: item id → columns."""
    shown: dict[str, dict[str, object]] = dict(read_display(before))
    if new is not None:
        shown |= display_data(new)
    return shown
