"""Read and check the landing zone's tables, and write them as raw artifacts."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.files import sha256_json
from recsys_assets.lib.figures.series import number
from recsys_assets.lib.landing import arrivals, quarantine, zone
from recsys_assets.lib.quality import contracts, landing_day, profiles, served_day
from recsys_assets.lib.raw.rows import INTERACTIONS_FILE, RAW_ITEMS, items_digest, table_digest
from recsys_assets.lib.raw.served import (
    FEATURES_FILE,
    SERVED_FILE,
    Rule,
    Served,
    served_impressions,
)
from recsys_assets.local_time import UTC


@dataclass(frozen=True)
class Landed:
    """Holds checked rows of the landing zone and the digest of their files."""

    frame: pl.DataFrame
    digest: str
    files: dict[str, int]  # name → rows
    duplicates: int = 0
    digests: dict[str, str] = field(default_factory=dict)  # name → sha256
    #: digest of arrivals that only the day's earlier version knows; None: there are none
    kept_arrivals: str | None = None
    images: pl.DataFrame | None = None
    #: column that the contract does not name → number of files that have it
    extra_columns: dict[str, int] = field(default_factory=dict)
    #: what the log of answers adds to the frame; None: the day has none
    served: Served | None = None

    @property
    def exposures(self) -> int:
        """Return the number of rows that are exposures, without those of the log of answers.

        The days before the log was switched on have none of those.
        """
        made = 0 if self.served is None else self.served.impressions.height
        return int(self.frame[c.EVENT_TYPE].is_in(c.EXPOSURE_EVENTS).sum()) - made


def landed_interactions(
    landing: str,
    day: str,
    *,
    items: Artifact | None = None,
    now: int | None = None,
    zone: str = UTC,
    before: Artifact | None = None,
    served: Rule = "own",
) -> Landed:
    """Read and check a day's files of interactions, and the answers of its log.

    Args:
        landing: the landing zone, a folder or an fsspec address.
        day: ISO, local.
        items: raw/items; every interaction must name one of its items.
        now: unix seconds; no event may be later.
        zone: the shop's time zone.
        before: raw/interactions of the day as it was read before; its events keep their arrival.
        served: which answers become impressions.

    Raises:
        LandingMissing: no day has a file.
        ContractViolation: a file breaks the contract.
    """
    ids = (
        None
        if items is None
        else pl.read_parquet(items.path("items.parquet"), columns=[c.ITEM_ID])[c.ITEM_ID].to_list()
    )
    read = landing_day.read_landing_day(landing, day, items=ids, now=now, zone=zone)
    frame, kept = arrivals.first_arrivals(read.frame, _arrivals_of(before))
    answers = served_day.read_served_day(landing, day, zone)
    added, files, digests = None, read.rows_by_file, read.digests
    if answers is not None:
        added = served_impressions(answers, frame, read.requests, ids, served)
        frame = pl.concat([frame, added.impressions]).sort(c.TIMESTAMP, c.EVENT_ID)
        files, digests = files | answers.rows_by_file, digests | answers.digests
    return Landed(
        frame,
        sha256_json(digests),
        files,
        read.duplicates,
        digests,
        kept,
        extra_columns=read.extra_columns,
        served=added,
    )


def _arrivals_of(before: Artifact | None) -> pl.DataFrame | None:
    """Return {event_id, arrived} of a day; None if it has no arrivals."""
    if before is None:
        return None
    rows = pl.scan_parquet(before.path(INTERACTIONS_FILE))
    if c.ARRIVED not in rows.collect_schema():
        return None
    return rows.select(c.EVENT_ID, c.ARRIVED).collect()


def _read(landing: str, file: str) -> bytes | None:
    """Return the content of a file of the landing zone; None if it is missing."""
    fs, path = fsspec.core.url_to_fs(f"{landing.rstrip('/')}/{file}")
    try:
        return bytes(fs.cat_file(path))
    except FileNotFoundError:
        return None


def _landed_table(landing: str, file: str, schema: Mapping[str, str], **known: Any) -> Landed:
    address = f"{landing.rstrip('/')}/{file}"
    report, frame, digest = contracts.read(address, schema, **known)
    report.raise_if_failed()
    assert frame is not None
    return Landed(
        frame.select(*schema),
        table_digest(file, digest),
        {file: frame.height},
        extra_columns=dict.fromkeys(report.extra_columns, 1),
    )


def landed_users(landing: str) -> Landed:
    """Read and check the users.

    Raises:
        ContractViolation: the table breaks its contract.
    """
    return _landed_table(landing, zone.USERS_FILE, c.RAW_USERS)


def landed_items(landing: str) -> Landed:
    """Read and check the catalogue with its pictures; a missing picture is no error.

    Raises:
        ContractViolation: the table breaks its contract.
    """
    read = _landed_table(
        landing, zone.ITEMS_FILE, c.RAW_ITEMS, categories=declared_categories(landing)
    )
    content = _read(landing, zone.IMAGES_FILE)
    if content is None:
        images = pl.DataFrame(schema={"image": pl.String, "content": pl.Binary})
    else:
        images = pl.read_parquet(io.BytesIO(content)).select("image", "content")
    digest = items_digest(read.digest, hashlib.sha256(content or b"").hexdigest())
    return Landed(read.frame, digest, read.files, images=images, extra_columns=read.extra_columns)


def declared_categories(landing: str) -> list[str] | None:
    """Return the values of category_l1 that ``catalogue/categories.json`` declares.

    Returns None without this file: every category is then accepted.

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


def write_interactions(
    landed: Landed, items: Artifact, target: Path, zone: str = UTC
) -> dict[str, Any]:
    """Write a day's interactions, ids, profile and figures; return the metrics.

    Where the day has a log of answers, SERVED_FILE holds what was shown, and FEATURES_FILE what the
    models read for some of it.

    Args:
        landed: the day's rows.
        items: raw/items.
        target: the artifact's folder.
        zone: the shop's time zone.
    """
    frame = landed.frame
    frame.write_parquet(target / INTERACTIONS_FILE)
    if landed.served is not None:
        landed.served.shown.write_parquet(target / SERVED_FILE)
        landed.served.features.write_parquet(target / FEATURES_FILE)
    distinct = profiles.write_ids(frame, target)
    catalogue = pl.read_parquet(items.path("items.parquet"), columns=[c.ITEM_ID, c.CATEGORY_L1])
    exposures = (
        frame.lazy()
        .filter(pl.col(c.EVENT_TYPE).is_in(c.EXPOSURE_EVENTS))
        .select(c.ITEM_ID, c.CLICK)
        .collect()
    )
    profiles.write(
        frame.join(catalogue, on=c.ITEM_ID, how="left"), target, profiles.RAW_FEATURES, zone
    )
    profiles.write_top_categories(exposures.join(catalogue, on=c.ITEM_ID, how="left"), target)
    return {
        "rows": frame.height,
        "exposures": exposures.height,
        "click_rate": number(exposures[c.CLICK].mean()),
        **distinct,
        "files": landed.files,
        # a list, so that the UI shows it as one value
        "file_digests": [[name, sha256] for name, sha256 in sorted(landed.digests.items())],
        "late": arrivals.late_rows(frame),
        "duplicates_dropped": landed.duplicates,
        "extra_columns": landed.extra_columns,
        "events": profiles.counts(frame[c.EVENT_TYPE]),
        **({} if landed.served is None else {"served": landed.served.figures}),
    }


def write_users(landed: Landed, target: Path) -> dict[str, Any]:
    """Write the users and their profile; return the metrics."""
    landed.frame.write_parquet(target / "users.parquet")
    profiles.write(landed.frame, target, profiles.USER_FEATURES)
    return {
        "rows": landed.frame.height,
        "mean_age": landed.frame[c.AGE].mean(),
        "extra_columns": landed.extra_columns,
        "genders": profiles.counts(landed.frame[c.GENDER]),
    }


def write_items(landed: Landed, target: Path) -> dict[str, Any]:
    """Write the catalogue, its pictures and its profile; return the metrics."""
    assert landed.images is not None
    landed.frame.write_parquet(target / "items.parquet")
    landed.images.write_parquet(target / "images.parquet")
    profiles.write(landed.frame, target, profiles.ITEM_FEATURES)
    pictured = landed.frame["image"].is_in(landed.images["image"].implode())
    return {
        "rows": landed.frame.height,
        "without_picture": int((~pictured).sum()),
        "without_price": landed.frame[c.PRICE].null_count(),
        "median_price": landed.frame[c.PRICE].median(),
        "extra_columns": landed.extra_columns,
        "categories": profiles.counts(landed.frame[c.CATEGORY_L1]),
    }


def new_categories(landed: Landed, store: ArtifactStore) -> dict[str, int]:
    """Return category_l1 → items for categories that the current raw/items lacks.

    The first catalogue has no new category.
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
    """Return reason → number of rows of a table that were rejected by an ingest."""
    return quarantine.quarantine_counts(landing, table).get(table, {})
