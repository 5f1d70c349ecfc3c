"""Measure how far the features of a day of ads have moved from the days before.

Beside the divergence of each feature stands what chance alone exceeds once in ONE_IN days at that
number of rows. A feature has drifted if it is above both, so that a small day is no alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.lib.figures import plots
from recsys_assets.lib.monitor.divergence import largest_by_chance
from recsys_assets.lib.quality import drift, profiles

#: Chance exceeds its bound on one of so many days, over all 39 features together.
ONE_IN = 1_000
SHOWN = 15
#: With fewer rows on either side, the bound of chance does not hold: some values then have less
#: than a handful of rows.
LEAST_ROWS = 500


@dataclass(frozen=True)
class AdsFeatureDrift:
    """Holds the divergence of one feature in bits, and the bound of chance."""

    divergence: float
    by_chance: float


@dataclass(frozen=True)
class AdsDayDrift:
    """Holds the drift of a day.

    Attributes:
        features: feature → its drift; empty if there is nothing to compare with.
        threshold: above it, and above chance, a feature has drifted.
        days: ISO, that the day is compared with.
        reason: why nothing was compared; "" where something was.
    """

    features: Mapping[str, AdsFeatureDrift]
    threshold: float
    days: tuple[str, ...]
    reason: str = ""

    @property
    def drifted(self) -> list[str]:
        """Return the features that have drifted, the farthest first."""
        found = {
            name: one.divergence
            for name, one in self.features.items()
            if one.divergence > max(self.threshold, one.by_chance)
        }
        return sorted(found, key=found.__getitem__, reverse=True)

    def figure(self) -> str:
        """Return a bar chart of the features that moved most, as Markdown.

        Raises:
            ValueError: nothing was compared.
        """
        farthest = sorted(self.features.items(), key=lambda item: -item[1].divergence)[:SHOWN]
        return plots.horizontal_bars(
            "Jensen-Shannon divergence from the days before",
            {name: one.divergence for name, one in farthest},
            threshold=self.threshold,
        )


def against_days(day: Artifact, before: Sequence[Artifact], threshold: float) -> AdsDayDrift:
    """Compare the profile of a day with the sum of earlier profiles.

    Args:
        day: ads_ctr/logs of the day.
        before: ads_ctr/logs of the days before it; days without rows do not count.
        threshold: in bits.
    """
    filled = [one for one in before if one.metrics["rows"]]
    days = tuple(str(one.partition) for one in filled)
    if min(day.metrics["rows"], sum(one.metrics["rows"] for one in filled)) < LEAST_ROWS:
        few = f"fewer than {LEAST_ROWS} rows of the day or of the days before"
        return AdsDayDrift({}, threshold, days, few)
    now, then = pl.read_parquet(day.path(profiles.PROFILE_FILE)), drift.profiles_of(filled)
    found = {}
    features = now["feature"].unique(maintain_order=True)
    share = 1 / (ONE_IN * len(features))
    for name in features:
        rows, earlier = drift.counts(
            now.filter(pl.col("feature") == name),
            then.filter(pl.col("feature") == name),
            pooled=True,
        )
        values = int(((rows > 0) | (earlier > 0)).sum())
        found[str(name)] = AdsFeatureDrift(
            drift.jensen_shannon(rows, earlier),
            largest_by_chance(values, float(rows.sum()), float(earlier.sum()), share),
        )
    return AdsDayDrift(found, threshold, days)
