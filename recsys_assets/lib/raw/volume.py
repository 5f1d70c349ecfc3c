"""Compare the volume of a day with the days before it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from recsys_assets import columns as c
from recsys_assets.artifacts import ArtifactStore, days_before
from recsys_assets.lib.landing import zone
from recsys_assets.lib.raw.raw_tables import RAW_INTERACTIONS, Landed

#: Accepted ratio of a day's exposures to the median of the days before it.
VOLUME_BOUNDS = (0.2, 5.0)
VOLUME_HISTORY = 7


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

    @property
    def ratio(self) -> float:
        """Return exposures / median; 1 without a day before."""
        return 1.0 if self.median is None else self.exposures / self.median

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the lowest and the highest accepted ratio."""
        return (0.0 if self.is_open else VOLUME_BOUNDS[0], VOLUME_BOUNDS[1])

    @property
    def within(self) -> bool:
        """Return whether the ratio is within the bounds."""
        return self.bounds[0] <= self.ratio <= self.bounds[1]

    def __str__(self) -> str:
        files = ", ".join(f"{name} ({rows} rows)" for name, rows in self.files.items())
        return (
            f"{zone.INTERACTIONS_FOLDER}/{self.day}: {files}: column {c.EVENT_TYPE!r}: "
            f"{self.exposures} exposures are {self.ratio:.2g} times the median "
            f"{self.median or 0:.0f} of {len(self.days)} days before "
            f"({VOLUME_BOUNDS[0]} to {VOLUME_BOUNDS[1]} are usual): repair the files, or, if the "
            "shop really had such a day, materialise with accept_volume: true"
        )


def volume_against_history(landed: Landed, store: ArtifactStore, day: str, today: str) -> Volume:
    """Compare a day's exposures with the median of up to seven days before it.

    Days without exposures do not count.

    Args:
        landed: the day's rows.
        store: holds raw/interactions of the days before.
        day: ISO, UTC.
        today: ISO, UTC; a day that is not over yet (today or later) has no lower bound.
    """
    before = days_before(store, RAW_INTERACTIONS, day, VOLUME_HISTORY)
    older = store.require(RAW_INTERACTIONS, before) if before else []
    rows = [
        float(artifact.metrics["exposures"]) for artifact in older if artifact.metrics["exposures"]
    ]
    return Volume(
        day,
        landed.exposures,
        statistics.median(rows) if rows else None,
        tuple(before),
        day >= today,
        landed.files,
    )
