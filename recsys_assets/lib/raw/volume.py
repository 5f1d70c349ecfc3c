"""Compare the volume of a day with the same weekday of the weeks before it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from recsys_assets import columns as c
from recsys_assets.artifacts import ArtifactStore, days_before
from recsys_assets.lib.landing import zone
from recsys_assets.lib.raw.raw_tables import RAW_INTERACTIONS, Landed

#: Accepted ratio of a day's exposures to the median of the days before it.
VOLUME_BOUNDS = (0.2, 5.0)
#: A count within this many standard deviations of a Poisson count is chance: a shop of four clicks
#: a day has a day without one every eighth week.
DEVIATIONS = 4.0
VOLUME_WEEKS, VOLUME_DAYS = 4, 7


@dataclass(frozen=True)
class Volume:
    """Compares a day's exposures with the median of the days before it.

    An open day is not over yet, so it has no lower bound.
    """

    day: str
    exposures: int
    median: float | None  # None: no day before it
    days: tuple[str, ...]
    is_open: bool
    files: Mapping[str, int]
    #: whether the day is the newest one of a shop that is being served
    protects: bool = False

    @property
    def ratio(self) -> float:
        """Return exposures / median; 1 where there is nothing to compare with."""
        return self.exposures / self.median if self.median else 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the least and the most accepted exposures."""
        if self.median is None:
            return 0.0, math.inf
        noise = DEVIATIONS * math.sqrt(max(self.median, 1.0))
        low = min(VOLUME_BOUNDS[0] * self.median, self.median - noise)
        high = max(VOLUME_BOUNDS[1] * self.median, self.median + noise)
        return 0.0 if self.is_open else max(0.0, low), high

    @property
    def within(self) -> bool:
        """Return whether the exposures are within the bounds."""
        return self.bounds[0] <= self.exposures <= self.bounds[1]

    @property
    def blocks(self) -> bool:
        """Return whether the day is kept out: it is the newest one, and out of bounds."""
        return self.protects and not self.within

    def __str__(self) -> str:
        files = ", ".join(f"{name} ({rows} rows)" for name, rows in self.files.items())
        low, high = self.bounds
        return (
            f"{zone.INTERACTIONS_FOLDER}/{self.day}: {files or 'no file'}: column "
            f"{c.EVENT_TYPE!r}: {self.exposures} exposures; {low:.0f} to {high:.0f} are usual "
            f"(the median of {', '.join(self.days)} is {self.median or 0:.0f}): repair the files, "
            "or, if the shop really had such a day, accept it with `recsys ingest-day "
            f"{self.day} --accept-volume`, or with accept_volume: true in the launchpad"
        )


def volume_against_history(
    landed: Landed, store: ArtifactStore, day: str, today: str, *, protects: bool = False
) -> Volume:
    """Compare a day's exposures with the median of the same weekday of up to four weeks.

    With fewer than two such weeks, up to seven days before are compared, without those that have no
    exposure.

    Args:
        landed: the day's rows.
        store: holds raw/interactions of the days before.
        day: ISO.
        today: ISO; a day that is not over yet (today or later) has no lower bound.
        protects: whether the day is the newest one, and a release serves.
    """
    weeks = [
        (date.fromisoformat(day) - timedelta(weeks=n)).isoformat()
        for n in range(1, VOLUME_WEEKS + 1)
    ]
    before = [one for one in weeks if store.exists(RAW_INTERACTIONS, one)]
    rows = _exposures(store, before)
    if len(before) < 2:
        before = [*days_before(store, RAW_INTERACTIONS, day, VOLUME_DAYS)]
        rows = [count for count in _exposures(store, before) if count]
    return Volume(
        day,
        landed.exposures,
        statistics.median(rows) if rows else None,
        tuple(before),
        day >= today,
        landed.files,
        protects,
    )


def _exposures(store: ArtifactStore, days: list[str]) -> list[float]:
    return [float(one.metrics["exposures"]) for one in store.require(RAW_INTERACTIONS, [*days])]
