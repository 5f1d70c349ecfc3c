"""Compare the volume of a day with the days before it.

A day is compared with the same weekday of up to four weeks before. A log of fewer than two such
weeks is compared with up to seven days before. The accepted interval is a ratio to their median,
widened by the chance of counts: a shop of 40 events per day may well have 6 on one of them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from recsys_assets import columns as c
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.lib.landing import days as landing_days
from recsys_assets.lib.landing import zone
from recsys_assets.lib.raw.raw_tables import Landed
from recsys_assets.lib.raw.rows import RAW_INTERACTIONS

#: Accepted ratio of a day's exposures to the median of the days that it is compared with.
VOLUME_BOUNDS = (0.2, 5.0)
#: Standard deviations of a Poisson count by which the accepted interval is wider than the ratios.
POISSON_DEVIATIONS = 4.0
#: Below this number on both sides a day is not judged: one large basket or one robot decides.
FEWEST_JUDGED = 100
WEEKS, FEWEST_WEEKS = 4, 2
DAYS_BEFORE = 7


@dataclass(frozen=True)
class Volume:
    """Compares a day's exposures with the median of earlier days.

    An open day is not over yet, so it has no lower bound. A weekday that is usually empty has none
    either.

    Attributes:
        day: ISO.
        exposures: of the day.
        median: exposures of an earlier day; None: there is none to compare with.
        days: the earlier days, oldest first.
        no_lower_bound: the day may have any small number of exposures, also none.
        files: landing file → rows.
    """

    day: str
    exposures: int
    median: float | None
    days: tuple[str, ...]
    no_lower_bound: bool
    files: Mapping[str, int]

    @property
    def ratio(self) -> float:
        """Return exposures / median; 1 without an earlier day."""
        return 1.0 if not self.median else self.exposures / self.median

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Return the smallest and the largest accepted number of exposures.

        Returns None if the day cannot be judged.
        """
        if self.median is None or max(self.median, self.exposures) < FEWEST_JUDGED:
            return None
        low, high = (self.median * ratio for ratio in VOLUME_BOUNDS)
        return (
            0.0 if self.no_lower_bound else max(0.0, low - POISSON_DEVIATIONS * math.sqrt(low)),
            high + POISSON_DEVIATIONS * math.sqrt(high),
        )

    @property
    def within(self) -> bool:
        """Return whether the exposures are within the bounds; true if they cannot be judged."""
        return self.bounds is None or self.bounds[0] <= self.exposures <= self.bounds[1]

    @property
    def verdict(self) -> str:
        """Return in words what was compared, and how it ended."""
        if self.median is None:
            return "nothing to compare with: no earlier day has exposures"
        compared = (
            f"{self.exposures} exposures are {self.ratio:.2g} times the median "
            f"{self.median:.0f} of {', '.join(self.days)}"
        )
        if self.bounds is None:
            return f"too few to judge (fewer than {FEWEST_JUDGED}): {compared}"
        return f"{compared}; {self.bounds[0]:.0f} to {self.bounds[1]:.0f} are usual"

    def __str__(self) -> str:
        files = ", ".join(f"{name} ({rows} rows)" for name, rows in self.files.items())
        return (
            f"{zone.INTERACTIONS_FOLDER}/{self.day}: {files or 'no file'}: column "
            f"{c.EVENT_TYPE!r}: {self.verdict}. Repair the files, or, if the shop really had such "
            f"a day, accept it: `recsys ingest-day {self.day} --accept-volume {self.day}` "
            "(`recsys materialize` and `recsys evaluate` have the same option; in the launchpad "
            f"it is accept_volume: ['{self.day}'])"
        )


def volume_against_history(landed: Landed, store: ArtifactStore, day: str, today: str) -> Volume:
    """Compare a day's exposures with those of earlier days of raw/interactions.

    Args:
        landed: the day's rows.
        store: holds raw/interactions of the days before.
        day: ISO, in the shop's time zone.
        today: ISO; a day that is not over yet (today or later) has no lower bound.
    """
    weekdays = _exposures(
        store,
        [
            (date.fromisoformat(day) - timedelta(weeks=weeks)).isoformat()
            for weeks in range(WEEKS, 0, -1)
        ],
    )
    open_weeks = {name: rows for name, rows in weekdays.items() if rows}
    usually_open = 2 * len(open_weeks) > len(weekdays)
    if len(weekdays) >= FEWEST_WEEKS and usually_open:
        compared = open_weeks
    else:
        before = store.days_before(RAW_INTERACTIONS, day, DAYS_BEFORE)
        compared = {name: rows for name, rows in _exposures(store, before).items() if rows}
    usually_closed = len(weekdays) >= FEWEST_WEEKS and not usually_open
    return Volume(
        day,
        landed.exposures,
        statistics.median(compared.values()) if compared else None,
        tuple(compared),
        day >= today or usually_closed,
        landed.files,
    )


def _exposures(store: ArtifactStore, days: list[str]) -> dict[str, int]:
    """Return day → exposures of the days that are in the store, as ``Landed.exposures``."""
    found = [day for day in days if store.exists(RAW_INTERACTIONS, day)]
    return {
        day: int(artifact.metrics["exposures"])
        - int(artifact.metrics.get("served", {}).get("impressions", 0))
        for day, artifact in zip(found, store.require(RAW_INTERACTIONS, found), strict=True)
    }


def is_newest(landing: str, day: str, today: str) -> bool:
    """Return whether no closed day after this one has landed."""
    return not any(day < other < today for other in landing_days.landed_days(landing))


def was_published(landed: Landed, store: ArtifactStore, day: str) -> bool:
    """Return whether raw/interactions of a day holds exactly these files already."""
    return (
        store.exists(RAW_INTERACTIONS, day)
        and store.current(RAW_INTERACTIONS, day).manifest["inputs"]["landing"] == landed.digest
    )
