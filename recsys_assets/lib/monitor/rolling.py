"""Judge rolling measures of served predictions against the first days of the same family.

A family is what is compared with itself: a full training and the fine-tunes that followed it. A
stratum is a day of one release. The reference is the family's first days. The window is the newest
days that together have enough rows; so a large service is judged by its last day, and a small one
by several. A measure has drifted if its difference from the reference is surely beyond its
tolerance. So neither chance nor a small steady change is an alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from recsys_assets.lib.monitor.estimates import Clustered, difference, logarithm, pooled

#: Standard errors of the bounds. One side has a chance of 0.1 %: with three measures on each of 30
#: days, one of 90 bounds is passed by chance alone in 9 % of the months, without any tolerance.
DEVIATIONS = 3.09


@dataclass(frozen=True)
class Stratum:
    """Holds the measures of one release on one day.

    Attributes:
        day: ISO.
        release: its number.
        family: what it is compared with.
        rows: labelled rows.
        positives: rows with a positive label.
        estimates: measure → estimate and weight in a mean over strata; a measure that the stratum
            does not have is absent.
    """

    day: str
    release: int
    family: int
    rows: int
    positives: int
    estimates: Mapping[str, tuple[Clustered, float]]


@dataclass(frozen=True)
class Minimum:
    """Holds the smallest window and the days of a window.

    Attributes:
        rows: labelled rows.
        positives: rows with a positive label; as many negative ones are needed.
        units: units, such as visitors.
        days: most days of a window.
        reference_days: days of the reference, more where these have too few rows.
    """

    rows: int = 500
    positives: int = 50
    units: int = 30
    days: int = 3
    reference_days: int = 3

    def lacks(self, strata: Sequence[Stratum], measure: str) -> str | None:
        """Return what strata lack to be judged by a measure; None: nothing."""
        found = [one for one in strata if measure in one.estimates]
        if not found:
            return "no value"
        rows, positives = sum(one.rows for one in found), sum(one.positives for one in found)
        units = pooled([one.estimates[measure][0] for one in found], [1] * len(found)).units
        for have, want, name in (
            (rows, self.rows, "rows"),
            (positives, self.positives, "positives"),
            (rows - positives, self.positives, "negatives"),
            (units, self.units, "units"),
        ):
            if have < want:
                return f"{have} of {want} {name}"
        return None


@dataclass(frozen=True)
class Tolerance:
    """Holds which change of a measure is drift.

    Attributes:
        change: the smallest change that counts: of the value, or of its logarithm.
        both: a rise is drift too; otherwise only a fall.
        ratio: the logarithm is compared.
        floor: a value that is surely below is drift, whatever the reference; None: no floor.
    """

    change: float
    both: bool = False
    ratio: bool = False
    floor: float | None = None


@dataclass(frozen=True)
class Judged:
    """Holds the verdict on one measure.

    Attributes:
        drifted: None if there is too little to judge; ``reason`` then says what lacks.
        reason: in words.
        days: of the window, oldest first.
        reference_days: of the reference, oldest first.
        now: estimate of the window; None: it has none.
        reference: estimate of the reference; None: it has none.
        change: window − reference (of logarithms where the tolerance is a ratio).
    """

    drifted: bool | None
    reason: str
    days: tuple[str, ...] = ()
    reference_days: tuple[str, ...] = ()
    now: Clustered | None = None
    reference: Clustered | None = None
    change: Clustered | None = None


def judge(
    strata: Sequence[Stratum], measure: str, minimum: Minimum, tolerance: Tolerance
) -> Judged:
    """Judge one measure of the newest family.

    Args:
        strata: of all days up to the judged one, in any order. The newest family is that of the
            highest release of the newest day.
        measure: its name.
        minimum: which windows are judged.
        tolerance: which change is drift.
    """
    if not strata:
        return Judged(None, "no release has answered")
    newest = max(strata, key=lambda one: (one.day, one.release))
    own = [one for one in strata if one.family == newest.family]
    days = sorted({one.day for one in own})
    window = _window(own, days, measure, minimum)
    now = _estimate(own, window, measure)
    lack = minimum.lacks(_of(own, window), measure)
    below = _below_floor(now, tolerance.floor) if now and lack is None else None
    reference = _reference(own, days, measure, minimum)
    if below:
        return Judged(True, below, tuple(window), tuple(reference or ()), now)
    if reference is None:
        return Judged(
            None, f"the reference of {minimum.reference_days} days is not complete", (), (), now
        )
    window = [day for day in window if day not in reference]
    if not window:
        return Judged(None, "no day after the reference", (), tuple(reference), None)
    lack = minimum.lacks(_of(own, window), measure)
    now, before = _estimate(own, window, measure), _estimate(own, reference, measure)
    judged = Judged(None, f"too few to judge: {lack}", tuple(window), tuple(reference), now, before)
    if lack is not None or now is None or before is None:
        return judged
    if tolerance.ratio and min(now.value, before.value) <= 0:
        return replace(judged, reason="too few to judge: a ratio of 0")
    pair = (logarithm(now), logarithm(before)) if tolerance.ratio else (now, before)
    change = difference(*pair)
    drifted, reason = _verdict(change, tolerance)
    return replace(judged, drifted=drifted, reason=reason, change=change)


def _verdict(change: Clustered, tolerance: Tolerance) -> tuple[bool, str]:
    low, high = change.bounds(DEVIATIONS)
    fell, rose = high < -tolerance.change, tolerance.both and low > tolerance.change
    said = f"{change.value:+.3f} [{low:+.3f}, {high:+.3f}] from the reference"
    return bool(fell or rose), f"{said}; drift is surely beyond {tolerance.change:g}"


def _below_floor(now: Clustered, floor: float | None) -> str | None:
    if floor is None or now.bounds(DEVIATIONS)[1] >= floor:
        return None
    return f"{now.value:.3f} is surely below the floor {floor:g}"


def _window(
    own: Sequence[Stratum], days: Sequence[str], measure: str, minimum: Minimum
) -> list[str]:
    """Return the newest days that are enough, oldest first; all allowed days if none are."""
    for number in range(1, minimum.days + 1):
        if minimum.lacks(_of(own, days[-number:]), measure) is None:
            return [*days[-number:]]
    return [*days[-minimum.days :]]


def _reference(
    own: Sequence[Stratum], days: Sequence[str], measure: str, minimum: Minimum
) -> list[str] | None:
    """Return the first days that are enough; None if there are not enough days yet."""
    for number in range(minimum.reference_days, len(days) + 1):
        if minimum.lacks(_of(own, days[:number]), measure) is None:
            return [*days[:number]]
    return None


def _of(strata: Sequence[Stratum], days: Sequence[str]) -> list[Stratum]:
    return [one for one in strata if one.day in days]


def _estimate(strata: Sequence[Stratum], days: Sequence[str], measure: str) -> Clustered | None:
    found = [one.estimates[measure] for one in _of(strata, days) if measure in one.estimates]
    return pooled([one for one, _ in found], [weight for _, weight in found]) if found else None
