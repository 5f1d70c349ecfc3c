"""Check and profile a day's features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.features.point_in_time import DEVICE_MASK_RATE, USER_MASK_RATE
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
    before = store.days_before(
        interactions.kind, str(interactions.partition), profiles.NEW_VALUE_DAYS
    )
    earlier = store.require(interactions.kind, before) if before else []
    return {
        **profiles.newcomers(interactions, earlier),
        "quarantined": raw_tables.quarantine_counts(landing, "interactions"),
    }


#: A share within this many standard errors of the rate is chance: one day of 150,000 lies outside.
DEVIATIONS = 4.5


@dataclass(frozen=True)
class MaskedShare:
    """Compares the share of masked rows with the rate, among the rows that can be masked."""

    share: float | None  # None without such a row
    rows: int  # that can be masked
    rate: float

    @property
    def within(self) -> bool:
        """Return whether the share differs from the rate by chance only."""
        if self.share is None or not self.rows:
            return True
        error = math.sqrt(self.rate * (1 - self.rate) / self.rows)
        # the smallest step of the share is one row
        return abs(self.share - self.rate) <= DEVIATIONS * error + 1 / self.rows

    def __str__(self) -> str:
        if self.share is None or not self.rows:
            return "none can be masked"
        return f"{self.share:.4f} of {self.rows:,} rows"


def masked_shares(metrics: Mapping[str, Any]) -> dict[str, MaskedShare]:
    """Return the shares of masked visitors and devices of ``daily.write_masked``'s metrics."""
    return {
        name: MaskedShare(metrics[f"masked_{name}"], metrics[f"maskable_{name}"], rate)
        for name, rate in (("visitors", USER_MASK_RATE), ("devices", DEVICE_MASK_RATE))
    }
