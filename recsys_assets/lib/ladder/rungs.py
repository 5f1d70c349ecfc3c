"""Chooses the rung of a release, and states what the next rung lacks.

A release always exists where there is one row. Its rung is the best of popularity, item-to-item and
the full models (two-tower, DLRM) on held-out clicks. Where there are too few of them to compare,
the simpler rung stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.evaluation.measures import Estimate
from recsys_assets.lib.release.rung import (
    FULL,
    FUSION,
    ITEM_TO_ITEM,
    POPULARITY,
    NextRung,
    Rung,
    RungName,
)

#: With fewer held-out clicks, a difference of nDCG@10 says nothing: its standard error is about
#: 0.3 / sqrt(n), that is 0.05 at 30.
MINIMUM_QUERIES = 30
#: Below this, the towers have fewer clicks than catalogue items and learn noise (docs/evaluation.md
#: has the figures of shops of several sizes).
TRAINING_CLICKS, VALIDATION_CLICKS = 1_000, 100


@dataclass(frozen=True)
class WindowClicks:
    """Counts what a window holds for the full models."""

    training: int  # clicks of the training days
    validation: int  # clicks of the validation days
    training_days: int
    validation_days: int
    visitors: int  # known visitors with a click in the training days
    devices: bool  # whether any training row names a device

    @classmethod
    def of(cls, train: Sequence[Artifact], valid: Sequence[Artifact]) -> WindowClicks:
        """Count the clicks of ``features/interactions`` of the training and validation days."""
        training, validation = _clicked(train), _clicked(valid)
        known = training.filter(pl.col(c.USER_ID) != c.MISSING)
        return cls(
            training.height,
            validation.height,
            len(train),
            len(valid),
            known[c.USER_ID].n_unique(),
            bool((training[c.DEVICE_TYPE] != c.MISSING).any()),
        )

    @property
    def lacking(self) -> list[str]:
        """Return, as sentences, what the full models lack; empty if they can be trained."""
        found = []
        for clicks, needed, days, what, setting in (
            (self.training, TRAINING_CLICKS, self.training_days, "training", "RECSYS_TRAIN_DAYS"),
            (
                self.validation,
                VALIDATION_CLICKS,
                self.validation_days,
                "validation",
                "RECSYS_VALIDATION_DAYS",
            ),
        ):
            if clicks < needed:
                found.append(
                    f"{needed - clicks:,} clicks: the {days} {what} days have {clicks:,}, and the "
                    f"full models need {needed:,}; ingest more days, or set {setting} higher"
                )
        return found

    @property
    def notes(self) -> list[str]:
        """Return, as sentences, what would make the full models better."""
        return [] if self.devices else ["no row names a device, so lists cannot change with it"]


def _clicked(days: Sequence[Artifact]) -> pl.DataFrame:
    """Return {user_id, device_type} of the clicked rows of some days."""
    schema = {c.USER_ID: pl.String, c.DEVICE_TYPE: pl.String}
    if not days:
        return pl.DataFrame(schema=schema)
    return (
        pl.scan_parquet([day.path("features.parquet") for day in days])
        .filter(pl.col(c.CLICK) == 1)
        .select(*schema)
        .collect()
    )


def simple_rung(difference: Estimate | None, queries: int, window: WindowClicks) -> Rung:
    """Choose between popularity and item-to-item.

    Args:
        difference: nDCG@10 of item-to-item − popularity, paired; None without a query.
        queries: held-out clicks that both were judged on.
        window: of the full models.
    """
    further: NextRung = {"name": FULL, "lacks": [*window.lacking, *window.notes]}
    if difference is None or queries < MINIMUM_QUERIES:
        return {
            "name": POPULARITY,
            "why": f"{queries} held-out clicks are too few to judge item-to-item "
            f"({MINIMUM_QUERIES} are needed)",
            "next": {
                "name": ITEM_TO_ITEM,
                "lacks": [f"{MINIMUM_QUERIES - queries} held-out clicks on unseen items"],
            },
        }
    gain = (
        f"nDCG@10 of item-to-item − popularity is {difference['value']:+.4f} "
        f"[{difference['low']:+.4f}, {difference['high']:+.4f}] on {queries:,} held-out clicks"
    )
    if difference["value"] > 0:
        return {"name": ITEM_TO_ITEM, "why": gain, "next": further}
    return {
        "name": POPULARITY,
        "why": gain,
        "next": {"name": ITEM_TO_ITEM, "lacks": ["clicks of returning visitors that agree"]},
    }


def fusion_rung(
    simple: Rung, difference: Estimate | None, queries: int, window: WindowClicks, why: str
) -> Rung:
    """Choose between the simple rung and the fusion of the sources.

    Args:
        simple: the chosen simple rung.
        difference: nDCG@10 of fusion − simple, paired; None where no blend was chosen.
        queries: held-out clicks that both were judged on.
        window: of the full models.
        why: reason for the blend.
    """
    further: NextRung = {"name": FULL, "lacks": [*window.lacking, *window.notes]}
    if difference is None:
        if simple["next"] is None or simple["next"]["name"] != FULL:
            return simple
        return {**simple, "next": {"name": FUSION, "lacks": [why]}}
    gain = (
        f"nDCG@10 of fusion − {simple['name']} is {difference['value']:+.4f} "
        f"[{difference['low']:+.4f}, {difference['high']:+.4f}] on {queries:,} held-out clicks"
    )
    if difference["value"] > 0:
        return {"name": FUSION, "why": gain, "next": further}
    return {**simple, "why": f"{simple['why']}; {gain}", "next": further}


def full_rung(difference: Estimate | None, queries: int, other: RungName) -> Rung:
    """Return the rung of a release of the full models.

    difference: nDCG@10 of full − the simple rung ``other``; None where not judged.
    """
    why = (
        f"{queries} held-out clicks are too few to compare with {other}"
        if difference is None
        else f"nDCG@10 of full − {other} is {difference['value']:+.4f} "
        f"[{difference['low']:+.4f}, {difference['high']:+.4f}] on {queries:,} held-out clicks"
    )
    return {"name": FULL, "why": why, "next": None}
