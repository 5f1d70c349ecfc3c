"""Check and profile a day's features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets import artifacts
from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.quality import contracts, profiles
from recsys_assets.lib.raw import raw_tables
from recsys_assets.local_time import UTC


def check_and_profile(folder: Path, items: Artifact, day: str, zone: str = UTC) -> None:
    """Check features.parquet in ``folder``, and write its profile and figures.

    Raises:
        contracts.ContractViolation: a row breaks the contract.
    """
    catalogue = pl.read_parquet(items.path("items.parquet"), columns=[c.ITEM_ID, c.CATEGORY_L1])
    rows = contracts.read_checked(
        folder / "features.parquet",
        c.INTERACTION_FEATURES,
        name=f"features/interactions [{day}]",
        day=day,
        zone=zone,
        items=catalogue[c.ITEM_ID].to_list(),
        categories=set(catalogue[c.CATEGORY_L1]),
    )
    profiles.write(rows, folder, profiles.DAY_FEATURES, zone)
    profiles.write_top_categories(rows, folder)


def around_the_day(interactions: Artifact, store: ArtifactStore, landing: str) -> dict[str, Any]:
    """Return new_users, new_items and quarantined rows of a day of raw interactions.

    These figures depend on other days and on the landing zone. They are metadata and never part of
    the artifact.
    """
    before = artifacts.days_before(
        store, interactions.kind, str(interactions.partition), profiles.NEW_LOOK_BACK_DAYS
    )
    earlier = store.require(interactions.kind, before) if before else []
    return {
        **profiles.newcomers(interactions, earlier),
        "quarantined": raw_tables.quarantine_counts(landing, "interactions"),
    }
