"""Adds the new items of a day to those of the champion, with vectors of the frozen item tower.

An item that the day's catalogue has and the champion lacks gets the next free index. Its content is
embedded by the encoders and the PCA of the generation, and its vector is that of the item tower for
an item without clicks: attributes and content, with the id out-of-vocabulary. A simple rung gives
it the vector of an item without clicks, zeros. All that the champion has keeps index and bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.files import write_json
from recsys_assets.lib.embeddings import language
from recsys_assets.lib.embeddings.aligned import item_tower_inputs
from recsys_assets.lib.embeddings.catalogue_vectors import (
    Log,
    digest_of,
    image_vectors,
    pictures_of,
    read_items,
    text_vectors,
)
from recsys_assets.lib.embeddings.pca import Pca
from recsys_assets.lib.features.batch_transform import read_transforms
from recsys_assets.lib.features.item_index import ADDED_ITEMS, catalogue_items
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.fine_tune.fine_tuning import FineTuneError
from recsys_assets.lib.release.contents import place
from recsys_assets.lib.release.item_parts import ENTERED_FILE, ENTERED_ROWS, ItemParts, item_parts
from recsys_assets.lib.release.releases import Release, open_release, read_release
from recsys_assets.lib.release.rung import FULL
from recsys_assets.lib.retrieval import index
from recsys_assets.lib.retrieval.item_vectors import item_vectors
from recsys_assets.lib.retrieval.tables import load_vectors
from recsys_assets.release_files import (
    EMBEDDING_TABLE,
    IMAGES_FILE,
    INDEX,
    ITEM_TOWER_INPUTS,
    ITEM_TOWER_ONNX,
    RUNG_QUERY,
    TRANSFORMS,
)
from recsys_assets.settings import Settings

#: Items that may be added to a generation, as a share of its vocabulary. With more of them, most
#: items would be known by their content alone.
ROOM = 1.0
#: Items that the metrics name, and that the figure lists.
_NAMED, _LISTED = 5, 50


class AddedFigures(TypedDict):
    """Holds the figures of ``fine_tune/items``."""

    rows: int  # items of the release
    entered: int  # of them, those that entered on this day
    names: list[str]  # of the first of these
    entered_before: int  # by earlier fine-tunes of the generation
    waiting: int  # new items for which there is no room
    left: int  # items of the release that the catalogue no longer has
    without_text: int  # of the entered ones
    without_image: int


@dataclass(frozen=True)
class _Content:
    """Holds the embeddings of new items, text then image, float32 [A, 128]."""

    vectors: np.ndarray
    without_text: np.ndarray  # bool [A]
    without_image: np.ndarray  # bool [A]


def write_added_items(
    store: ArtifactStore,
    *,
    rows: Artifact,
    items: Artifact,
    settings: Settings,
    target: Path,
    log: Log,
) -> AddedFigures:
    """Write the items of a day's fine-tune: those of the champion, then the new ones of the day.

    The files are those of a generation: transforms.json with the added ids, embedding_table.npy
    [3 + I, 128], item_tower_inputs.npz, item_vectors.npy [I, 64], item_index.npy and index.faiss
    (and query.npz of a simple rung); and of the new items items.parquet and images.parquet.
    entered.json lists their ids. Without a new item, the champion's files are placed unchanged; a
    champion that has none beside its generation's gets entered.json alone.

    Args:
        store: of the artifacts.
        rows: ``fine_tune/rows`` of the day, which names the champion.
        items: ``raw/items``.
        settings: of the home: text encoder and caches.
        target: folder of the files.
        log: receives lines of text.

    Raises:
        FineTuneError: an id cannot be an item's, or the generation's encoder is not the configured
            one; names the field and the remedy.
        ValueError: a price is not above 0; names the items.
    """
    base = read_release(store.open(rows.manifest["inputs"]["champion"]))
    before = item_parts(store, base)
    transforms = read_transforms(before.workflows)
    known, catalogue = catalogue_items(transforms), read_items(items)
    fresh = new_items(known, catalogue)
    room = room_left(transforms)
    entering = fresh.head(room)
    waiting = fresh.height - entering.height
    if waiting:
        log(
            f"warning: {waiting} of {fresh.height} new items wait, because release {base.number} "
            f"has room for {room}; run full_training"
        )
    content = None
    write_json(target / ENTERED_FILE, entering[c.ITEM_ID].to_list())
    if entering.height:
        content = _embedded(store, base, items, entering, settings, log)
        _write_grown(store, base, before, entering, content.vectors, target)
        _write_rows(items, entering, target)
        _write_figure(entering, content, target / "figures")
    elif before.added is not None:
        for name in _item_files(before.added):
            place(before.added.path(name), target / name)
    named = entering.head(_NAMED).select(c.ITEM_ID, "name").iter_rows()
    return {
        "rows": len(known) + entering.height,
        "entered": entering.height,
        "names": [f"{item}: {name}" if name and name != item else item for item, name in named],
        "entered_before": len(transforms.get(ADDED_ITEMS, ())),
        "waiting": waiting,
        "left": len(set(known) - set(catalogue[c.ITEM_ID])),
        "without_text": 0 if content is None else int(content.without_text.sum()),
        "without_image": 0 if content is None else int(content.without_image.sum()),
    }


def new_items(known: Sequence[str], catalogue: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the catalogue whose items are not known, in its order.

    Args:
        known: item ids of the champion.
        catalogue: RAW_ITEMS.

    Raises:
        FineTuneError: an id is empty, means unknown, or occurs twice; names it.
    """
    found = catalogue.filter(~pl.col(c.ITEM_ID).is_in(pl.Series(known, dtype=pl.String).implode()))
    ids = found[c.ITEM_ID]
    wrong = sorted({one for one in ids.to_list() if not one or one == c.MISSING}, key=str)
    if wrong:
        raise FineTuneError(
            f"raw/items: {c.ITEM_ID} {wrong[0]!r} cannot be an item's id; correct the catalogue "
            "and materialise raw/items again"
        )
    if ids.n_unique() != len(ids):
        twice = ids.filter(ids.is_duplicated()).unique().sort().to_list()
        raise FineTuneError(
            f"raw/items: {c.ITEM_ID} must be unique; {len(twice)} new ones occur more than once: "
            f"{twice[:5]}; correct the catalogue and materialise raw/items again"
        )
    return found


def room_left(transforms: Mapping[str, Any]) -> int:
    """Return how many items a fine-tune may still add to the generation."""
    room = int(ROOM * len(transforms["vocabulary"][c.ITEM_ID]))
    return max(room - len(transforms.get(ADDED_ITEMS, ())), 0)


def _embedded(
    store: ArtifactStore,
    base: Release,
    items: Artifact,
    frame: pl.DataFrame,
    settings: Settings,
    log: Log,
) -> _Content:
    """Embed new items by the encoders and the PCA of the generation.

    Raises:
        FineTuneError: the configured text encoder is another one.
    """
    aligned = store.open(_of_generation(store, base)["aligned"])
    embeddings = store.open(aligned.manifest["inputs"]["embeddings"])
    image, fitted = (
        store.open(embeddings.manifest["inputs"][name]) for name in ("image", "fitted")
    )
    projected = np.zeros((frame.height, 2 * c.EMBEDDING_DIM), np.float32)
    missing = [np.ones(frame.height, bool), np.ones(frame.height, bool)]
    for part, name in enumerate(("text", "image")):
        file = f"pca_{name}.npz"
        if file not in fitted.manifest["files"]:
            continue  # the generation has no such content, for any item
        if name == "text":
            _require_encoder(fitted, settings)
            vectors, missing[part], _ = text_vectors(frame, settings, log)
        elif not any(pictures_of(items, frame)):
            continue
        else:
            encoder = store.open(image.manifest["inputs"]["encoder"])
            vectors, missing[part], _ = image_vectors(
                items, frame, encoder.local, digest_of(encoder), settings, log
            )
        if not missing[part].all():
            place_of = slice(part * c.EMBEDDING_DIM, (part + 1) * c.EMBEDDING_DIM)
            projected[:, place_of] = Pca.load(fitted.path(file)).apply(vectors, missing[part])
    return _Content(projected, missing[0], missing[1])


def _require_encoder(fitted: Artifact, settings: Settings) -> None:
    """Refuse a text encoder that is not the generation's: its vectors mean something else."""
    configured = language.text_params(settings)
    for name, recorded in language.encoder_of_texts(fitted):
        if recorded is not None and recorded != configured[name]:
            raise FineTuneError(
                f"RECSYS_TEXT_ENCODER names {configured['text_encoder']} "
                f"({configured['text_encoder_version']}), but the champion's items were embedded "
                f"by {recorded}: new items would not fit them; set it back, or run full_training, "
                "then `recsys promote`"
            )


def _write_grown(
    store: ArtifactStore,
    base: Release,
    before: ItemParts,
    frame: pl.DataFrame,
    content: np.ndarray,
    target: Path,
) -> None:
    """Write the item files of the champion with A more items.

    content: float32 [A, 128].
    """
    transforms = read_transforms(before.workflows)
    first = c.VOCABULARY_START + len(catalogue_items(transforms))
    ids = frame[c.ITEM_ID].to_list()
    grown = {**transforms, ADDED_ITEMS: [*transforms.get(ADDED_ITEMS, ()), *ids]}
    write_json(target / TRANSFORMS, grown)
    # rows of hash buckets, which hold zeros and no item, are left out
    table = np.load(before.aligned.path(EMBEDDING_TABLE), mmap_mode="r", allow_pickle=False)
    table = np.concatenate([table[:first], content.astype(np.float32)])
    np.save(target / EMBEDDING_TABLE, table, allow_pickle=False)
    inputs = item_tower_inputs(grown, frame, set(ids))
    with np.load(before.aligned.path(ITEM_TOWER_INPUTS), allow_pickle=False) as stored:
        both = {name: np.concatenate([stored[name], inputs[name]]) for name in stored.files}
    np.savez(target / ITEM_TOWER_INPUTS, allow_pickle=False, **both)
    vectors = np.zeros((len(ids), c.EMBEDDING_DIM), np.float32)
    if base.rung["name"] == FULL:
        two_tower = store.open(_of_generation(store, base)["faiss_index"]).manifest["inputs"]
        tower = store.open(two_tower["two_tower"]).path(ITEM_TOWER_ONNX)
        vectors = item_vectors(tower, inputs, table)
    known, known_index = load_vectors(before.vectors)
    added = np.arange(first, first + len(ids), dtype=np.int32)
    np.save(target / "item_vectors.npy", np.concatenate([known, vectors]), allow_pickle=False)
    np.save(target / "item_index.npy", np.concatenate([known_index, added]), allow_pickle=False)
    opened = index.load_index(before.index.path(INDEX))
    index.add_to_index(opened, vectors, added)
    index.save_index(opened, target / INDEX)
    if RUNG_QUERY in before.index.manifest["files"]:
        place(before.index.path(RUNG_QUERY), target / RUNG_QUERY)


def _of_generation(store: ArtifactStore, base: Release) -> Mapping[str, Any]:
    """Return the inputs of the release that started the generation: role → reference."""
    return open_release(store, base.generation).artifact.manifest["inputs"]


def _item_files(added: Artifact) -> list[str]:
    """Return the files of ``fine_tune/items`` that later days take over."""
    of_day = (ENTERED_FILE, ENTERED_ROWS, IMAGES_FILE)
    names = added.manifest["files"]
    return [name for name in names if name not in of_day and not name.startswith("figures/")]


def _write_rows(items: Artifact, frame: pl.DataFrame, target: Path) -> None:
    """Write the new rows of the catalogue, and their pictures."""
    frame.write_parquet(target / ENTERED_ROWS)
    named = frame["image"].drop_nulls().implode()
    images = pl.read_parquet(items.path(IMAGES_FILE)).filter(pl.col("image").is_in(named))
    images.write_parquet(target / IMAGES_FILE)


def _write_figure(frame: pl.DataFrame, content: _Content, folder: Path) -> None:
    """Write the table of the new items."""
    folder.mkdir()
    table = frame.select(c.ITEM_ID, "name", c.CATEGORY_L1).with_columns(
        text=pl.Series(np.where(content.without_text, "none", "yes")),
        picture=pl.Series(np.where(content.without_image, "none", "yes")),
    )
    text = f"{frame.height} new items entered."
    if frame.height > _LISTED:
        text += f" The first {_LISTED}:"
    (folder / "new_items.md").write_text(f"{text}\n\n{markdown_table(table.head(_LISTED))}")
