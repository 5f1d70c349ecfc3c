"""From the landing zone into raw artifacts: read, checked, digested."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.files import sha256_json
from recsys_assets.lib.figures.series import number
from recsys_assets.lib.landing import quarantine, zone
from recsys_assets.lib.quality import contracts, landing_day, profiles

RAW_INTERACTIONS, RAW_ITEMS = "raw/interactions", "raw/items"


@dataclass(frozen=True)
class Landed:
    """What was read from the landing zone: the checked rows, and the digest of the very files they
    came from.
    """

    frame: pl.DataFrame
    digest: str
    files: dict[str, int]  # name → rows
    duplicates: int = 0
    images: pl.DataFrame | None = None
    extra_columns: dict[str, int] = field(
        default_factory=dict
    )  # tolerated column → files that have it

    @property
    def exposures(self) -> int:
        return self.frame.select(pl.col(c.EVENT_TYPE).is_in(c.EXPOSURE_EVENTS).sum()).item()


def landed_interactions(
    landing: str, day: str, *, items: Artifact | None = None, now: int | None = None
) -> Landed:
    """A day's files; raises LandingMissing or ContractViolation, both naming what and the remedy.

    Args:
        items: raw/items; every interaction must name one of its products.
        now: unix seconds; nothing may have happened after it.
    """
    ids = (
        None
        if items is None
        else pl.read_parquet(items.path("items.parquet"), columns=[c.ITEM_ID])[c.ITEM_ID].to_list()
    )
    read = landing_day.read_landing_day(landing, day, items=ids, now=now)
    return Landed(
        read.frame,
        sha256_json(read.digests),
        read.rows_by_file,
        read.duplicates,
        extra_columns=read.extra_columns,
    )


def _read(landing: str, file: str) -> bytes | None:
    fs, path = fsspec.core.url_to_fs(f"{landing.rstrip('/')}/{file}")
    try:
        return fs.cat_file(path)
    except FileNotFoundError:
        return None


def _landed_table(landing: str, file: str, schema: Mapping[str, str], **known: Any) -> Landed:
    address = f"{landing.rstrip('/')}/{file}"
    report, frame, digest = contracts.read(address, schema, **known)
    report.raise_if_failed()
    assert frame is not None
    return Landed(
        frame.select(*schema),
        sha256_json({file: digest}),
        {file: frame.height},
        extra_columns=dict.fromkeys(report.extra_columns, 1),
    )


def landed_users(landing: str) -> Landed:
    return _landed_table(landing, zone.USERS_FILE, c.RAW_USERS)


def landed_items(landing: str) -> Landed:
    """The catalogue with its pictures; a catalogue without pictures is one without pictures, not an
    error.
    """
    read = _landed_table(
        landing, zone.ITEMS_FILE, c.RAW_ITEMS, categories=declared_categories(landing)
    )
    content = _read(landing, zone.IMAGES_FILE)
    if content is None:
        images = pl.DataFrame(schema={"image": pl.String, "content": pl.Binary})
    else:
        images = pl.read_parquet(io.BytesIO(content)).select("image", "content")
    digest = sha256_json([read.digest, hashlib.sha256(content or b"").hexdigest()])
    return Landed(read.frame, digest, read.files, images=images, extra_columns=read.extra_columns)


def declared_categories(landing: str) -> list[str] | None:
    """The category_l1 that the shop declares in ``catalogue/categories.json``; None: it declares
    none, any may come.

    Raises:
        ContractViolation: the file is not a JSON list of names.
    """
    content = _read(landing, zone.CATEGORIES_FILE)
    if content is None:
        return None
    try:
        names = json.loads(content)
    except ValueError as error:
        raise contracts.ContractViolation(
            f"{landing}/{zone.CATEGORIES_FILE}: is not JSON: {error}"
        ) from error
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise contracts.ContractViolation(
            f"{landing}/{zone.CATEGORIES_FILE}: must be a JSON list of names, at least one"
        )
    return names


def write_interactions(landed: Landed, items: Artifact, target: Path) -> dict[str, Any]:
    """interactions.parquet, the day's distinct ids, its profile and figures; returns the
    metrics.
    """
    frame = landed.frame
    frame.write_parquet(target / "interactions.parquet")
    distinct = profiles.write_ids(frame, target)
    catalogue = pl.read_parquet(items.path("items.parquet"), columns=[c.ITEM_ID, c.CATEGORY_L1])
    exposures = (
        frame.lazy()
        .filter(pl.col(c.EVENT_TYPE).is_in(c.EXPOSURE_EVENTS))
        .select(c.ITEM_ID, c.CLICK)
        .collect()
    )
    profiles.write(frame.join(catalogue, on=c.ITEM_ID, how="left"), target, profiles.RAW_FEATURES)
    profiles.write_top_categories(exposures.join(catalogue, on=c.ITEM_ID, how="left"), target)
    return {
        "rows": frame.height,
        "exposures": exposures.height,
        "click_rate": number(exposures[c.CLICK].mean()),
        **distinct,
        "files": landed.files,
        "duplicates_dropped": landed.duplicates,
        "extra_columns": landed.extra_columns,
        "events": profiles.counts(frame[c.EVENT_TYPE]),
    }


def write_users(landed: Landed, target: Path) -> dict[str, Any]:
    landed.frame.write_parquet(target / "users.parquet")
    profiles.write(landed.frame, target, profiles.USER_FEATURES)
    return {
        "rows": landed.frame.height,
        "mean_age": number(landed.frame[c.AGE].mean()),
        "extra_columns": landed.extra_columns,
        "genders": profiles.counts(landed.frame[c.GENDER]),
    }


def write_items(landed: Landed, target: Path) -> dict[str, Any]:
    assert landed.images is not None
    landed.frame.write_parquet(target / "items.parquet")
    landed.images.write_parquet(target / "images.parquet")
    profiles.write(landed.frame, target, profiles.ITEM_FEATURES)
    pictured = landed.frame["image"].is_in(landed.images["image"].implode())
    return {
        "rows": landed.frame.height,
        "without_picture": int((~pictured).sum()),
        "median_price": number(landed.frame[c.PRICE].median()),
        "extra_columns": landed.extra_columns,
        "categories": profiles.counts(landed.frame[c.CATEGORY_L1]),
    }


def new_categories(landed: Landed, store: ArtifactStore) -> dict[str, int]:
    """category_l1 → products, of the categories that the catalogue in force lacks; empty for the
    first catalogue.
    """
    if not store.exists(RAW_ITEMS):
        return {}
    before = pl.read_parquet(
        store.current(RAW_ITEMS).path("items.parquet"), columns=[c.CATEGORY_L1]
    )[c.CATEGORY_L1]
    return profiles.counts(
        landed.frame[c.CATEGORY_L1].filter(
            ~landed.frame[c.CATEGORY_L1].is_in(before.unique().implode())
        )
    )


def quarantine_counts(landing: str, table: str) -> dict[str, int]:
    """reason → rows of one table that an ingest refused."""
    return quarantine.quarantine_counts(landing, table).get(table, {})


def unread_days(landing: str, store: ArtifactStore, days: Sequence[str]) -> dict[str, str]:
    """Days whose landing files are not those that ``raw/interactions`` was made from → a short
    digest of their names.

    A day that was ingested while it was open is among them once more of its events have landed.
    Names are enough: every file of the landing zone is written once, under a name of its own.
    """
    fs, prefix = fsspec.core.url_to_fs(f"{landing.rstrip('/')}/{zone.INTERACTIONS_FOLDER}")
    unread = {}
    for day in days:
        names = sorted(
            str(path).rsplit("/", 1)[-1] for path in fs.glob(f"{prefix}/{day}/*.parquet")
        )
        read = (
            store.current(RAW_INTERACTIONS, day).metrics["files"]
            if store.exists(RAW_INTERACTIONS, day)
            else {}
        )
        if names and names != sorted(read):
            unread[day] = hashlib.sha256("/".join(names).encode()).hexdigest()[:12]
    return unread
