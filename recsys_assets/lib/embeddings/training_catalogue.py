"""Choose the catalogue that the image encoder and both PCAs are fitted on.

With a fit on each day's catalogue, one new item would change every item's vectors and every model
that uses them. The catalogue of the last fit is therefore kept until a new fit is forced, or until
too large a share of today's items is not in it. An item that arrives in between needs only its own
vectors and projections.
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
_ENOUGH = 2  # fewest pictures for the fit of a CLIP or a PCA


@dataclass(frozen=True)
class Choice:
    """Holds the raw/items to fit on, and the reason."""

    items: Artifact
    new: int  # today's items that the kept catalogue lacks
    share: float  # their share of today's items
    reason: str


def contents(items: Artifact) -> pl.DataFrame:
    """Return {item_id, content: digest of texts and picture, picture: Boolean}."""
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
        store: holds the catalogue of the last fit.
        items: today's raw/items.
        refit_share: share of new items above which today's catalogue is taken. An item whose texts
            or picture changed counts as new.
        force: take today's catalogue.
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
    """Write contents.parquet of a catalogue; return the metrics."""
    rows = contents(items)
    rows.write_parquet(target / CONTENTS)
    return {"rows": rows.height, "with_picture": int(rows["picture"].sum())}
