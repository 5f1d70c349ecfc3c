"""Finds the artifacts that hold the items of a release: its generation's, or those it grew to.

A fine-tune may add items to those of its generation. ``fine_tune/items`` then holds, in one folder
and under the same names, what ``features/workflows`` (transforms.json), ``embeddings/aligned``,
``retrieval/item_vectors`` and ``retrieval/faiss_index`` hold of a generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import polars as pl

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.release.releases import Release, open_release
from recsys_assets.release_files import TRANSFORMS

#: Files of ``fine_tune/items`` that are of its day: ids of the items that entered, and their rows.
ENTERED_FILE, ENTERED_ROWS = "entered.json", "items.parquet"
#: Role of ``fine_tune/items`` in the manifest of a release whose items are more than its
#: generation's.
ADDED = "added_items"


class FittedTo(TypedDict):
    """Holds the parts that sources are fitted to."""

    workflows: Artifact
    aligned: Artifact


@dataclass(frozen=True)
class ItemParts:
    """Holds the artifacts with the items of a release.

    Attributes:
        workflows: holds transforms.json.
        aligned: holds embedding_table.npy and item_tower_inputs.npz.
        vectors: holds item_vectors.npy and item_index.npy.
        index: holds index.faiss, and query.npz of a simple rung.
        added: ``fine_tune/items``, which then is all of them; None: they are the generation's.
    """

    workflows: Artifact
    aligned: Artifact
    vectors: Artifact
    index: Artifact
    added: Artifact | None = None

    @property
    def fitted_to(self) -> FittedTo:
        """Return the parts that sources are fitted to."""
        return {"workflows": self.workflows, "aligned": self.aligned}


def item_parts(store: ArtifactStore, release: Release, added: Artifact | None = None) -> ItemParts:
    """Return the artifacts with the items of a release.

    Args:
        store: of the artifacts.
        release: of any rung.
        added: ``fine_tune/items`` of a fine-tune that starts from the release; where it holds
            items, they are taken.

    Raises:
        ArtifactMissing: a part no longer exists.
    """
    if added is not None and holds_items(added):
        return ItemParts(added, added, added, added, added)
    recorded = release.artifact.manifest["inputs"].get(ADDED)
    if recorded is not None:
        own = store.open(recorded)
        return ItemParts(own, own, own, own, own)
    made_from: Mapping[str, Any] = open_release(store, release.generation).artifact.manifest[
        "inputs"
    ]
    index = store.open(made_from["faiss_index"])
    vectors = index.manifest["inputs"].get("item_vectors")
    return ItemParts(
        store.open(made_from["workflows"]),
        store.open(made_from["aligned"]),
        # a simple rung writes vectors and index together
        index if vectors is None else store.open(vectors),
        index,
    )


def holds_items(added: Artifact) -> bool:
    """Return whether ``fine_tune/items`` holds more items than the generation."""
    return TRANSFORMS in added.manifest["files"]


def entered(added: Artifact | None) -> pl.DataFrame | None:
    """Return the rows, RAW_ITEMS, of the items that entered on the day; None: no item did.

    added: ``fine_tune/items``; None: there is none.
    """
    if added is None or ENTERED_ROWS not in added.manifest["files"]:
        return None
    return pl.read_parquet(added.path(ENTERED_ROWS))
