"""What is made of the answers of a drill: percentiles, shares, trends, and whether a bar is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recsys_assets.drills.client import CUT, DEGRADED, FULL, REFUSED

#: Of the interval around a trend.
CONFIDENCE = 0.95
#: Seconds without a degraded answer that make it normal again.
CALM = 2.0


@dataclass(frozen=True)
class Answers:
    """Requests of a drill in the order in which they were meant to be sent; rows of ``client.run``,
    float64 [N, 5].
    """

    rows: np.ndarray

    @classmethod
    def of(cls, parts: Sequence[Sequence[Sequence[float]]]) -> Answers:
        """Of several clients."""
        rows = np.array([row for part in parts for row in part], np.float64).reshape(-1, 5)
        return cls(rows[np.argsort(rows[:, 0], kind="stable")])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def meant(self) -> np.ndarray:
        return self.rows[:, 0]

    @property
    def sent(self) -> np.ndarray:
        return self.rows[:, 1]

    @property
    def done(self) -> np.ndarray:
        return self.rows[:, 2]

    @property
    def status(self) -> np.ndarray:
        return self.rows[:, 3].astype(np.int64)

    @property
    def degraded(self) -> np.ndarray:
        return (self.rows[:, 4].astype(np.int64) & DEGRADED) > 0

    @property
    def answered(self) -> np.ndarray:
        """bool [N]: 200."""
        return self.status == 200

    @property
    def full(self) -> np.ndarray:
        """bool [N]: 200 with as many distinct items as were wanted."""
        return self.answered & ((self.rows[:, 4].astype(np.int64) & FULL) > 0)

    @property
    def ms(self) -> np.ndarray:
        """Milliseconds from when each request was meant to be sent to its answer."""
        return (self.done - self.meant) * 1_000

    def where(self, chosen: np.ndarray) -> Answers:
        return Answers(self.rows[chosen])

    def between(self, begin: float, end: float) -> Answers:
        """Meant to be sent in [begin, end)."""
        return self.where((self.meant >= begin) & (self.meant < end))

    def percentile(self, share: float) -> float | None:
        """Milliseconds of the answered; None where there are none.

        >>> rows = np.array([[0, 0, 0.001 * n, 200, 2] for n in range(101)])
        >>> round(Answers(rows).percentile(99), 6)
        99.0
        """
        times = self.ms[self.answered]
        return float(np.percentile(times, share)) if len(times) else None

    def summary(self) -> dict[str, Any]:
        return {
            "requests": len(self),
            "not_200": int((~self.answered).sum()),
            "short_lists": int((self.answered & ~self.full).sum()),
            "429": int((self.status == 429).sum()),
            "cut": int((self.status == CUT).sum()),
            "refused": int((self.status == REFUSED).sum()),
            "degraded": share(self.degraded, self.answered),
            "p50_ms": rounded(self.percentile(50)),
            "p99_ms": rounded(self.percentile(99)),
        }


def share(part: np.ndarray, whole: np.ndarray) -> float | None:
    """Of the true ones of ``whole``; None where there are none."""
    return round(float((part & whole).sum() / whole.sum()), 4) if whole.any() else None


def rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def normal_again(answers: Answers, returned: float) -> float | None:
    """Seconds from a moment until answers are normal: until the first of CALM seconds in which none
    is degraded; None: never.

    A single answer that is degraded later on, by a busy machine, is not of the outage.

    >>> rows = np.array([[n, n, n, 200, 1 if n < 3 else 2] for n in range(6)], float)
    >>> normal_again(Answers(rows), returned=1.0)
    2.0
    """
    later = answers.where((answers.meant >= returned) & answers.answered)
    bad = later.meant[later.degraded]
    for moment in later.meant[~later.degraded]:
        if not ((bad >= moment) & (bad < moment + CALM)).any():
            return float(moment - returned)
    return None


@dataclass(frozen=True)
class Trend:
    """A straight line through values over time.

    per_hour: growth an hour, as a share of the median; low, high: its confidence interval.
    """

    per_hour: float
    low: float
    high: float

    @property
    def grows(self) -> bool:
        """Whether the interval lies above zero."""
        return self.low > 0


def trend(seconds: Sequence[float], values: Sequence[float]) -> Trend:
    """Theil and Sen's slope with its interval (P. K. Sen, 1968): the median of the slopes of all
    pairs.

    Unlike least squares, some busy minutes of the machine do not make a trend. "Is there a trend?"
    is Kendall's test, which the interval answers: none where it holds zero.

    >>> trend([0, 1800, 3600], [1.0, 1.0, 1.0]).grows
    False
    """
    from scipy.stats import theilslopes

    if len(seconds) != len(values) or len(values) < 3:
        raise ValueError(
            f"a trend needs at least 3 values with their times, got {len(seconds)} and "
            f"{len(values)}"
        )
    slope, _, low, high = map(
        float, theilslopes(np.asarray(values), np.asarray(seconds), CONFIDENCE)
    )
    scale = 3_600 / float(np.median(values))
    return Trend(slope * scale, low * scale, high * scale)


def growth(values: Sequence[float], edge: float = 0.1) -> float:
    """From the median of the first tenth to that of the last, as a share of the first.

    >>> round(growth([100.0] * 10 + [104.0] * 10), 6)
    0.04
    """
    count = max(1, round(len(values) * edge))
    first, last = float(np.median(values[:count])), float(np.median(values[-count:]))
    return last / first - 1


@dataclass(frozen=True)
class Bar:
    """A figure and what it is held against: ``most`` or ``least``, or neither where it is only
    told.
    """

    name: str
    value: float | None
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """A figure that could not be had meets no bar."""
        if self.most is None and self.least is None:
            return None
        if self.value is None:
            return False
        return (self.most is None or self.value <= self.most) and (
            self.least is None or self.value >= self.least
        )

    @property
    def words(self) -> tuple[str, str, str]:
        """Value, bar and verdict, for a table.

        >>> Bar("p99", 12.34, most=100, unit="ms").words
        ('12.34 ms', '≤ 100 ms', 'yes')
        """
        bar = (
            f"≤ {self.most:g}"
            if self.most is not None
            else f"≥ {self.least:g}"
            if self.least is not None
            else ""
        )
        value = (
            "none"
            if self.value is None
            else f"{self.value:,.4g}"
            if isinstance(self.value, float)
            else f"{self.value:,}"
        )
        met = {None: "", True: "yes", False: "no"}[self.met]
        return (
            f"{value} {self.unit}".strip() if self.value is not None else value,
            f"{bar} {self.unit}".strip() if bar else "",
            met,
        )

    def told(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}
