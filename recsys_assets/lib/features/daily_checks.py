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

#: Standard deviations of a binomial share that chance may explain: once in 150,000 judgements.
MASK_DEVIATIONS = 4.5
#: A share is judged where chance moves it by less than this.
MASK_TOLERANCE = 0.02


@dataclass(frozen=True)
class MaskedShare:
    """Judges the share of masked rows among those that can be masked.

    Attributes:
        passed: the share is within the bounds, or is not judged.
        share: None if no row can be masked.
        bounds: of the share; None if it is not judged.
        verdict: in words.
    """

    passed: bool
    share: float | None
    bounds: tuple[float, float] | None
    verdict: str


def masked_shares(metrics: Mapping[str, Any]) -> dict[str, MaskedShare]:
    """Judge the metrics of ``daily.write_masked``: visitors and devices."""
    return {
        name: _masked_share(metrics[f"known_{name}"], metrics.get(f"masked_{name}"), rate)
        for name, rate in (("visitors", USER_MASK_RATE), ("devices", DEVICE_MASK_RATE))
    }


def _masked_share(known: int, share: float | None, rate: float) -> MaskedShare:
    if share is None:
        return MaskedShare(True, None, None, "nothing to mask: unknown in every row")
    tolerance = MASK_DEVIATIONS * math.sqrt(rate * (1 - rate) / known)
    if tolerance > MASK_TOLERANCE:
        return MaskedShare(True, share, None, f"too few to judge: known in {known} rows")
    bounds = (rate - tolerance, rate + tolerance)
    passed = bounds[0] <= share <= bounds[1]
    return MaskedShare(
        passed, share, bounds, f"{share:.2%} of {known} rows, {rate:.0%} ± {tolerance:.2%} expected"
    )


def check_and_profile(folder: Path, items: Artifact, day: str) -> None:
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
        items=catalogue[c.ITEM_ID].to_list(),
        categories=set(catalogue[c.CATEGORY_L1]),
    )
    profiles.write(rows, folder, profiles.DAY_FEATURES)
    profiles.write_top_categories(rows, folder)


def around_the_day(interactions: Artifact, store: ArtifactStore, landing: str) -> dict[str, Any]:
    """Return new_users, new_items and quarantined rows of a day of raw interactions.

    These figures depend on other days and on the landing zone. They are metadata and never part of
    the artifact.
    """
    before = store.days_before(
        interactions.kind, str(interactions.partition), profiles.NEW_LOOK_BACK_DAYS
    )
    earlier = store.require(interactions.kind, before) if before else []
    return {
        **profiles.newcomers(interactions, earlier),
        "quarantined": raw_tables.quarantine_counts(landing, "interactions"),
    }
