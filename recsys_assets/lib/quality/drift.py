"""Measure how far a day's features have moved from the days before it.

The measure is the Jensen-Shannon divergence (Lin 1991, IEEE Trans. Inf. Theory 37(1)) to base 2: 0
for equal distributions, 1 for disjoint ones. Both sides are profiles (``lib/quality/profiles.py``).
Numbers are counted in bins of fixed edges. Other features keep the TOP_VALUES most frequent values
of the baseline; all other values are counted together. The baseline is the sum of up to
BASELINE_DAYS days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.figures import plots
from recsys_assets.lib.quality import profiles

#: Above this divergence a feature has drifted.
THRESHOLD = 0.06
BASELINE_DAYS = 7
TOP_VALUES = 30
#: With fewer rows on either side, chance alone comes near the threshold. Two samples of n
#: independent rows over k values differ by about (k − 1) / (4 n ln 2) bits: 0.02 for 31 values and
#: 500 rows. The about ten rows of a visit share hour, visitor and device, so 5,000 rows count as
#: about 500 independent ones.
MINIMUM_ROWS = 5_000
ROWS_PER_VISIT = 10  # rows that count as one independent row; see MINIMUM_ROWS
#: Features of the 24 hours or the day before. They are empty on the calendar's first day, which is
#: therefore not part of their baseline.
RECENT = frozenset(
    {c.TOP_CATEGORY, c.CLICKS_24H, c.HOURS_SINCE_CLICK, c.ITEM_CLICKS, c.CATEGORY_CLICKS_24H}
)
#: Features of the look-back days. They grow over the calendar's first look-back days, which are
#: therefore not part of their baseline.
LOOK_BACK = frozenset({c.CLICKS_LOOK_BACK, c.CATEGORY_CLICKS_LOOK_BACK})
_DAY = "day"


@dataclass(frozen=True)
class Drift:
    """Holds the divergence per feature.

    It is empty if there is nothing to compare with; ``reason`` then states the cause.
    """

    divergence: dict[str, float]
    threshold: float
    days: tuple[str, ...]
    reason: str = ""

    @property
    def drifted(self) -> list[str]:
        """Return the features above the threshold."""
        return [feature for feature, value in self.divergence.items() if value > self.threshold]

    def figure(self) -> str:
        """Return a bar chart as Markdown.

        Raises:
            ValueError: nothing was compared.
        """
        return plots.horizontal_bars(
            "Jensen-Shannon divergence from the days before",
            self.divergence,
            threshold=self.threshold,
        )


def jensen_shannon(p: Sequence[float] | np.ndarray, q: Sequence[float] | np.ndarray) -> float:
    """Return the divergence in bits, 0 to 1, of two count or probability vectors.

    Args:
        p: [K], one count or probability per value.
        q: [K], over the same values.

    Raises:
        ValueError: other shapes, a negative or infinite number, or a vector of zeros.

    >>> jensen_shannon([1, 1], [5, 5])
    0.0
    >>> jensen_shannon([1, 0], [0, 1])
    1.0
    """
    a, b = np.asarray(p, np.float64), np.asarray(q, np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            f"two vectors [K] over the same values are needed; got {a.shape} and {b.shape}"
        )
    if not (
        np.isfinite(a).all()
        and np.isfinite(b).all()
        and (a >= 0).all()
        and (b >= 0).all()
        and a.sum() > 0
        and b.sum() > 0
    ):
        raise ValueError("counts must be finite, not negative, and not all zero")
    a, b = a / a.sum(), b / b.sum()
    middle = (a + b) / 2

    def relative_entropy(of: np.ndarray) -> float:
        some = of > 0
        return float((of[some] * np.log2(of[some] / middle[some])).sum())

    # rounding may give -1e-17
    return min(max((relative_entropy(a) + relative_entropy(b)) / 2, 0.0), 1.0)


def by_chance(p: np.ndarray, q: np.ndarray, rows_per_visit: float = ROWS_PER_VISIT) -> float:
    """Return the expected divergence in bits of two samples from one distribution.

    For samples of n and m independent rows over k values, the divergence is Σ (p̂ − q̂)² / p to
    second order, divided by 8 ln 2. The variance of p̂ − q̂ is p (1 − p) (1/n + 1/m), so the
    expectation is (k − 1) (1/n + 1/m) / (8 ln 2). A feature with one value gives 0.

    Args:
        p: rows per value, [K].
        q: rows per value, [K].
        rows_per_visit: rows that count as one independent row.

    >>> round(by_chance(np.array([5, 5]), np.array([9, 1]), 1), 4)
    0.0361
    """
    values = np.count_nonzero((p > 0) | (q > 0))
    spread = rows_per_visit * (1 / p.sum() + 1 / q.sum())
    return min(1.0, float((values - 1) * spread / (8 * np.log(2))))


def divergence(day: pl.DataFrame, baseline: pl.DataFrame) -> float:
    """Return the divergence of one feature's profile from its baseline; see ``counts``."""
    return jensen_shannon(*counts(day, baseline))


def counts(
    day: pl.DataFrame, baseline: pl.DataFrame, *, pooled: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows per value of the day and of the baseline, int64 [K] each.

    Args:
        day: profile rows of the feature, {feature, value, rows}.
        baseline: profile rows of several days; rows of a repeated value are added up.
        pooled: keep the TOP_VALUES of both sides together. Those of the baseline alone are partly
            frequent there by chance, and then seem to have become rarer.
    """

    def summed(table: pl.DataFrame, name: str) -> pl.DataFrame:
        return table.group_by("value").agg(pl.col("rows").sum().alias(name))

    both = (
        summed(day, "now")
        .join(summed(baseline, "before"), on="value", how="full", coalesce=True)
        .with_columns(pl.col("now").fill_null(0), pl.col("before").fill_null(0))
        .sort([pl.col("before") + pl.col("now") * int(pooled), "value"], descending=[True, False])
    )
    if day["feature"][0] not in profiles.EDGES:
        rest = both.filter(pl.col("value") != profiles.OTHER).slice(TOP_VALUES)["value"]
        both = (
            both.group_by(
                pl.when(pl.col("value").is_in(rest.implode()))
                .then(pl.lit(profiles.OTHER))
                .otherwise(pl.col("value"))
                .alias("value")
            )
            .agg(pl.col("now", "before").sum())
            .sort("value")
        )
    return both["now"].to_numpy(), both["before"].to_numpy()


def against_baseline(
    day: Artifact,
    earlier: Sequence[Artifact],
    *,
    first_day: str,
    look_back_days: int,
    threshold: float = THRESHOLD,
) -> Drift:
    """Compare a day's features with the days before it.

    Args:
        day: the artifact of the day.
        earlier: artifacts of the days before, of the same kind; the last BASELINE_DAYS of them that
            have a profile are the baseline.
        first_day: the calendar's first day. It is not in the baseline of RECENT features. Its
            first look_back_days days are not in the baseline of LOOK_BACK features, which are
            also not compared on these days.
        look_back_days: days that the LOOK_BACK features cover.
        threshold: above it a feature has drifted.
    """
    # an artifact of an older form has no profile
    with_profile = [
        artifact for artifact in earlier if profiles.PROFILE_FILE in artifact.manifest["files"]
    ][-BASELINE_DAYS:]
    days = tuple(str(artifact.partition) for artifact in with_profile)
    if not with_profile:
        return Drift({}, threshold, days, "no day before this one has a profile")
    now = pl.read_parquet(day.path(profiles.PROFILE_FILE))
    settled, before = settled_on(first_day, look_back_days), profiles_of(with_profile)
    found: dict[str, float] = {}
    for (feature,), part in now.group_by("feature", maintain_order=True):
        base = comparable(
            before, str(feature), str(day.partition), first_day=first_day, settled=settled
        )
        if min(part["rows"].sum(), base["rows"].sum()) >= MINIMUM_ROWS:
            found[str(feature)] = divergence(part, base)
    return Drift(found, threshold, days, "" if found else f"fewer than {MINIMUM_ROWS} rows")


def profiles_of(days: Sequence[Artifact]) -> pl.DataFrame:
    """Return the profiles of days, {feature, position, value, rows, day}."""
    return pl.concat(
        [
            pl.read_parquet(artifact.path(profiles.PROFILE_FILE)).with_columns(
                pl.lit(str(artifact.partition)).alias(_DAY)
            )
            for artifact in days
        ]
    )


def settled_on(first_day: str, look_back_days: int) -> str:
    """Return the first day (ISO) whose look-back days all lie in the calendar."""
    return (date.fromisoformat(first_day) + timedelta(days=look_back_days)).isoformat()


def comparable(
    before: pl.DataFrame, feature: str, day: str, *, first_day: str, settled: str
) -> pl.DataFrame:
    """Return the baseline of a feature; it has no row where the day cannot be compared.

    Args:
        before: of ``profiles_of``.
        feature: its name.
        day: ISO, the day that is compared.
        first_day: of the calendar.
        settled: of ``settled_on``.
    """
    base = before.filter(pl.col("feature") == feature)
    if feature in RECENT:
        base = base.filter(pl.col(_DAY) != first_day)
    if feature in LOOK_BACK:
        base = base.filter((pl.col(_DAY) >= settled) & (day >= settled))
    return base
