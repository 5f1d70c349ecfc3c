"""What is checked and shown of a day's features beside the features themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets import artifacts
from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.quality import contracts, profiles
from recsys_assets.lib.raw import raw_tables


def check_and_profile(folder: Path, items: Artifact, day: str) -> None:
    """Hold features.parquet in ``folder`` to its contract, then write its profile and figures
    beside it.

    Raises:
        contracts.ContractViolation: a row breaks it.
    """
    catalogue = pl.read_parquet(items.path("items.parquet"), columns=[c.ITEM_ID, c.CATEGORY_L1])
    rows = contracts.read_checked(
        folder / "features.parquet",
        c.INTERACTION_FEATURES,
        name=f"features/interactions [{day}]",
        day=day,
        items=catalogue[c.ITEM_ID].to_list(),
        categories=set(catalogue[c.CATEGORY_L1]),
    )
    profiles.write(rows, folder, profiles.DAY_FEATURES)
    profiles.write_top_categories(rows, folder)


def around_the_day(interactions: Artifact, store: ArtifactStore, landing: str) -> dict[str, Any]:
    """new_users and new_items of a day of raw interactions, and what its ingest refused, by reason.

    It depends on other days and on the landing zone, so it is shown and never part of the artifact.
    """
    before = artifacts.days_before(
        store, interactions.kind, str(interactions.partition), profiles.NEW_LOOK_BACK_DAYS
    )
    earlier = store.require(interactions.kind, before) if before else []
    return {
        **profiles.newcomers(interactions, earlier),
        "quarantined": raw_tables.quarantine_counts(landing, "interactions"),
    }
