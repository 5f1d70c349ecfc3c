"""Compute a drill's figures: percentiles, shares, trends and bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import numpy as np

from recsys_assets.drills.client import CUT, DEGRADED, FULL, REFUSED

#: Confidence of the interval around a trend.
CONFIDENCE = 0.95
#: Seconds without a degraded answer after which answers count as normal.
CALM = 2.0

#: Counts and latencies of answers. "degraded" is a share of the answered.
AnswerSummary = TypedDict(
    "AnswerSummary",
    {
        "requests": int,
        "not_200": int,
        "short_lists": int,
        "429": int,
        "cut": int,
        "refused": int,
        "degraded": float | None,
        "p50_ms": float | None,
        "p99_ms": float | None,
    },
)


@dataclass(frozen=True)
class Answers:
    """Holds the requests of a drill in the order of their planned times.

    Attributes:
        rows: float64 [N, 5], of ``client.run``.
    """

    rows: np.ndarray

    @classmethod
    def of(cls, parts: Sequence[Sequence[Sequence[float]]]) -> Answers:
        """Join the rows of several clients."""
        rows = np.array([row for part in parts for row in part], np.float64).reshape(-1, 5)
        return cls(rows[np.argsort(rows[:, 0], kind="stable")])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def meant(self) -> np.ndarray:
        """Return the planned times, monotonic seconds [N]."""
        return self.rows[:, 0]

    @property
    def sent(self) -> np.ndarray:
        """Return the times of sending, monotonic seconds [N]."""
        return self.rows[:, 1]

    @property
    def done(self) -> np.ndarray:
        """Return the times of the answers, monotonic seconds [N]."""
        return self.rows[:, 2]

    @property
    def status(self) -> np.ndarray:
        """Return the HTTP status, CUT or REFUSED, int64 [N]."""
        return self.rows[:, 3].astype(np.int64)

    @property
    def degraded(self) -> np.ndarray:
        """Return whether each answer is degraded, bool [N]."""
        flags: np.ndarray = (self.rows[:, 4].astype(np.int64) & DEGRADED) > 0
        return flags

    @property
    def answered(self) -> np.ndarray:
        """Return whether each status is 200, bool [N]."""
        flags: np.ndarray = self.status == 200
        return flags

    @property
    def full(self) -> np.ndarray:
        """Return whether each answer is a full list (200, TOP_K distinct items), bool [N]."""
        flags: np.ndarray = self.answered & ((self.rows[:, 4].astype(np.int64) & FULL) > 0)
        return flags

    @property
    def ms(self) -> np.ndarray:
        """Return milliseconds from the planned time to the answer, [N]."""
        times: np.ndarray = (self.done - self.meant) * 1_000
        return times

    def where(self, chosen: np.ndarray) -> Answers:
        """Return the chosen requests, bool [N]."""
        return Answers(self.rows[chosen])

    def between(self, begin: float, end: float) -> Answers:
        """Return the requests planned in [begin, end)."""
        return self.where((self.meant >= begin) & (self.meant < end))

    def percentile(self, share: float) -> float | None:
        """Return a percentile of the answered in milliseconds; None without any.

        >>> rows = np.array([[0, 0, 0.001 * n, 200, 2] for n in range(101)])
        >>> round(Answers(rows).percentile(99), 6)
        99.0
        """
        times = self.ms[self.answered]
        return float(np.percentile(times, share)) if len(times) else None

    def summary(self) -> AnswerSummary:
        """Return counts and latencies."""
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
    """Return the share of ``whole`` that is in ``part``; None if ``whole`` is empty."""
    return round(float((part & whole).sum() / whole.sum()), 4) if whole.any() else None


def rounded(value: float | None, digits: int = 3) -> float | None:
    """Round a value that may be None."""
    return None if value is None else round(value, digits)


def normal_again(answers: Answers, returned: float) -> float | None:
    """Return the seconds from a moment until answers are normal; None: never.

    Answers are normal from the first of CALM seconds without a degraded one. A single degraded
    answer later, on a busy machine, is not part of the outage.

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

    Attributes:
        per_hour: growth per hour, as a share of the median.
        low: lower end of its confidence interval.
        high: upper end of its confidence interval.
    """

    per_hour: float
    low: float
    high: float

    @property
    def grows(self) -> bool:
        """Return whether the interval lies above zero."""
        return self.low > 0


def trend(seconds: Sequence[float], values: Sequence[float]) -> Trend:
    """Return Theil and Sen's slope with its interval (P. K. Sen, 1968).

    The slope is the median of the slopes of all pairs. Unlike with least squares, some busy minutes
    of the machine make no trend. The interval answers Kendall's test: there is no trend if it holds
    zero.

    >>> trend([0, 1800, 3600], [1.0, 1.0, 1.0]).grows
    False

    Raises:
        ValueError: fewer than 3 values, or another number of times.
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
    """Return the growth from the first tenth to the last, as a share of the first.

    Each tenth counts with its median.

    >>> round(growth([100.0] * 10 + [104.0] * 10), 6)
    0.04
    """
    count = max(1, round(len(values) * edge))
    first, last = float(np.median(values[:count])), float(np.median(values[-count:]))
    return last / first - 1


@dataclass(frozen=True)
class Bar:
    """A figure and its limits; without limits it is only reported.

    Attributes:
        most: upper limit.
        least: lower limit.
    """

    name: str
    value: float | None
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Return whether the limits are met; a missing value meets none."""
        if self.most is None and self.least is None:
            return None
        if self.value is None:
            return False
        return (self.most is None or self.value <= self.most) and (
            self.least is None or self.value >= self.least
        )

    @property
    def words(self) -> tuple[str, str, str]:
        """Return value, bar and verdict for a table.

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
        """Return the bar with its verdict, for the report."""
        return {**asdict(self), "met": self.met}
