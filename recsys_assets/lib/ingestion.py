"""From the landing zone into raw artifacts: read, checked, digested."""

from __future__ import annotations

import hashlib
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib import contracts

#: A day's rows against the median of the days before it.
VOLUME_BOUNDS = (0.2, 5.0)
VOLUME_HISTORY = 7


@dataclass(frozen=True)
class Landed:
    """What was read from the landing zone: the checked rows, and the digest of the very files they came from."""

    frame: pl.DataFrame
    digest: str
    files: dict[str, int]  # name → rows
    duplicates: int = 0
    images: pl.DataFrame | None = None


def _digest(landing: str, names: Sequence[str]) -> str:
    fs, prefix = fsspec.core.url_to_fs(landing.rstrip("/"))
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(name.encode() + b"\0" + hashlib.sha256(fs.cat_file(f"{prefix}/{name}")).digest())
    return digest.hexdigest()


def landed_interactions(landing: str, day: str) -> Landed:
    """A day's files; raises LandingMissing or ContractViolation, both naming what and the remedy."""
    read = contracts.read_landing_day(landing, day)
    names = [f"{contracts.INTERACTIONS_FOLDER}/{day}/{name}" for name in read.rows_by_file]
    return Landed(read.frame, _digest(landing, names), read.rows_by_file, read.duplicates)


def _landed_table(landing: str, file: str, schema: dict[str, str]) -> Landed:
    address = f"{landing.rstrip('/')}/{file}"
    contracts.check_table(address, schema).raise_if_failed()
    fs, path = fsspec.core.url_to_fs(address)
    frame = pl.read_parquet(io.BytesIO(fs.cat_file(path))).select(list(schema))
    return Landed(frame, _digest(landing, [file]), {file: frame.height})


def landed_users(landing: str) -> Landed:
    return _landed_table(landing, contracts.USERS_FILE, c.RAW_USERS)


def landed_items(landing: str) -> Landed:
    """The catalogue with its pictures; a catalogue without pictures is one without pictures, not an error."""
    read = _landed_table(landing, contracts.ITEMS_FILE, c.RAW_ITEMS)
    fs, path = fsspec.core.url_to_fs(f"{landing.rstrip('/')}/{contracts.IMAGES_FILE}")
    names = [contracts.ITEMS_FILE]
    if fs.exists(path):
        names.append(contracts.IMAGES_FILE)
        images = pl.read_parquet(io.BytesIO(fs.cat_file(path))).select("image", "content")
    else:
        images = pl.DataFrame(schema={"image": pl.String, "content": pl.Binary})
    return Landed(read.frame, _digest(landing, names), read.files, images=images)


def write_interactions(landed: Landed, target: Path) -> dict[str, Any]:
    frame = landed.frame
    frame.write_parquet(target / "interactions.parquet")
    exposures = frame.filter(pl.col(c.EVENT_TYPE).is_in(c.EXPOSURE_EVENTS))
    return {"rows": frame.height, "exposures": exposures.height, "click_rate": float(exposures[c.CLICK].mean() or 0.0),
            "users": frame[c.USER_ID].n_unique(), "items": frame[c.ITEM_ID].n_unique(), "files": landed.files,
            "duplicates_dropped": landed.duplicates,
            "events": dict(frame[c.EVENT_TYPE].value_counts(sort=True).iter_rows())}


def write_users(landed: Landed, target: Path) -> dict[str, Any]:
    landed.frame.write_parquet(target / "users.parquet")
    return {"rows": landed.frame.height, "mean_age": float(landed.frame[c.AGE].mean() or 0.0),
            "genders": dict(landed.frame[c.GENDER].value_counts(sort=True).iter_rows())}


def write_items(landed: Landed, target: Path) -> dict[str, Any]:
    assert landed.images is not None
    landed.frame.write_parquet(target / "items.parquet")
    landed.images.write_parquet(target / "images.parquet")
    pictured = landed.frame["image"].is_in(landed.images["image"].implode())
    return {"rows": landed.frame.height, "without_picture": int((~pictured).sum()),
            "median_price": float(landed.frame[c.PRICE].median() or 0.0),
            "categories": dict(landed.frame[c.CATEGORY_L1].value_counts(sort=True).iter_rows())}


@dataclass(frozen=True)
class Volume:
    ratio: float
    median: float
    bounds: tuple[float, float]

    @property
    def within(self) -> bool:
        return self.bounds[0] <= self.ratio <= self.bounds[1]


def volume_against_history(artifact: Artifact, store: ArtifactStore, day: str) -> Volume:
    """A day's exposures against the median of up to seven days before it; without history the ratio is 1."""
    before = [name for name in store.partitions(artifact.kind) if name < day][-VOLUME_HISTORY:]
    rows = [float(older.metrics["exposures"]) for older in store.require(artifact.kind, before)] if before else []
    median = statistics.median(rows) if rows else float(artifact.metrics["exposures"])
    return Volume(artifact.metrics["exposures"] / median if median else 1.0, median, VOLUME_BOUNDS)


def landed_days(landing: str) -> list[str]:
    """Days that have a folder in the landing zone, sorted."""
    fs, prefix = fsspec.core.url_to_fs(f"{landing.rstrip('/')}/{contracts.INTERACTIONS_FOLDER}")
    return sorted(entry.rstrip("/").rsplit("/", 1)[-1] for entry in fs.ls(prefix, detail=False)) if fs.isdir(prefix) else []
