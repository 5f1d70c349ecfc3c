"""Which catalogue the image encoder and both PCAs are fitted on, and for how long it stays so.

Were they fitted on each day's catalogue, one new product would change every vector of every item,
and with them each model that takes them. So the catalogue of the last fit is kept until it is
forced, or until too large a share of today's products is not in it; a product that comes in between
costs its own two vectors and two projections.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactMissing, ArtifactStore

KIND = "embeddings/training_catalogue"
CONTENTS = "contents.parquet"
_DESCRIBED_BY = ("name", "description", c.CATEGORY_L1, c.CATEGORY_L2)
_ENOUGH = 2  # pictures: with fewer, neither a CLIP nor a PCA can be fitted


@dataclass(frozen=True)
class Choice:
    """The raw/items to fit on; the share of today's products that the kept one does not know; and
    why.
    """

    items: Artifact
    new: int
    share: float
    reason: str


def contents(items: Artifact) -> pl.DataFrame:
    """{item_id, content: digest of texts and picture, picture: Boolean}, a row an item."""
    frame = pl.read_parquet(items.path("items.parquet"))
    files = pl.read_parquet(items.path("images.parquet"))
    pictures = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in files.select("image", "content").iter_rows()
        if content
    }
    rows = [
        (
            item_id,
            hashlib.sha256(
                "\0".join([*(text or "" for text in texts), pictures.get(image, "")]).encode()
            ).hexdigest(),
            image in pictures,
        )
        for item_id, image, *texts in frame.select(c.ITEM_ID, "image", *_DESCRIBED_BY).iter_rows()
    ]
    return pl.DataFrame(
        rows,
        schema={c.ITEM_ID: pl.String, "content": pl.String, "picture": pl.Boolean},
        orient="row",
    )


def choose(
    store: ArtifactStore, items: Artifact, refit_share: float, force: bool = False
) -> Choice:
    """Keep the catalogue of the last fit, or take today's.

    Args:
        items: today's raw/items. refit_share: of today's products; above it, today's catalogue is
            taken. A product whose texts or picture changed counts as new.
    """
    if not store.exists(KIND):
        return Choice(items, 0, 0.0, "first fit")
    kept = store.current(KIND)
    known, today = pl.read_parquet(kept.path(CONTENTS)), contents(items)
    new = today.join(known, on=[c.ITEM_ID, "content"], how="anti").height
    share = new / max(today.height, 1)
    if force:
        return Choice(items, new, share, "forced")
    if share > refit_share:
        return Choice(
            items, new, share, f"{share:.1%} of the products are new, more than refit_share"
        )
    if known["picture"].sum() < _ENOUGH <= today["picture"].sum():
        return Choice(items, new, share, "pictures came to a catalogue that had none")
    try:
        return Choice(
            store.open(kept.manifest["inputs"]["items"]),
            new,
            share,
            f"kept: {share:.1%} of the products are new",
        )
    except ArtifactMissing:
        return Choice(items, new, share, "the kept catalogue's own raw/items no longer exists")


def write(items: Artifact, target: Path) -> dict[str, Any]:
    """contents.parquet; the artifact's input ``items`` is the catalogue itself."""
    rows = contents(items)
    rows.write_parquet(target / CONTENTS)
    return {"rows": rows.height, "with_picture": int(rows["picture"].sum())}
