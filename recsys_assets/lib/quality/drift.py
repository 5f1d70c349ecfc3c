"""Has a day's distribution of a feature moved away from the days before it?

Jensen-Shannon divergence (Lin 1991, IEEE Trans. Inf. Theory 37(1)), base 2: 0 for equal
distributions, 1 for disjoint ones. Both sides are profiles (``lib/quality/profiles.py``): numbers
in bins of fixed edges; of other features the TOP_VALUES most frequent of the baseline, and all the
others together. The baseline is the sum of up to BASELINE_DAYS days.
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

#: Above it a feature has drifted. The reference's second system retrains at this value.
THRESHOLD = 0.06
BASELINE_DAYS = 7
TOP_VALUES = 30
#: With fewer rows on either side chance alone comes near the threshold: two samples of n
#: independent rows over k values differ by about (k − 1) / (4 n ln 2) bits, 0.02 for 31 values and
#: 500 rows; and the some ten rows of a visit share hour, visitor and device, so that 5,000 rows
#: tell about as much as 500 independent ones.
MINIMUM_ROWS = 5_000
#: Features of the 24 hours or the day before: on the calendar's first day they are empty, which is
#: no baseline.
LOOK_BACK = frozenset(
    {c.TOP_CATEGORY, c.CLICKS_24H, c.HOURS_SINCE_CLICK, c.ITEM_CLICKS, c.CATEGORY_CLICKS_24H}
)
#: Features of HISTORY_DAYS grow over the first days of a calendar: days that look back less far are
#: no baseline.
LONG_LOOK_BACK = frozenset({c.CLICKS_7D, c.CATEGORY_CLICKS_7D})
_DAY = "day"


@dataclass(frozen=True)
class Drift:
    """Divergence by feature; empty where there is nothing to compare with, and ``reason`` says
    why.
    """

    divergence: dict[str, float]
    threshold: float
    days: tuple[str, ...]
    reason: str = ""

    @property
    def drifted(self) -> list[str]:
        return [feature for feature, value in self.divergence.items() if value > self.threshold]

    def figure(self) -> str:
        """Markdown; raises ValueError where nothing was compared."""
        return plots.horizontal_bars(
            "Jensen-Shannon divergence from the days before",
            self.divergence,
            threshold=self.threshold,
        )


def jensen_shannon(p: Sequence[float] | np.ndarray, q: Sequence[float] | np.ndarray) -> float:
    """Divergence in bits, 0 to 1, of two count or probability vectors [K] over the same values.

    Raises:
        ValueError: other shapes, a negative or infinite number, or a vector without weight.

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

    return min(
        max((relative_entropy(a) + relative_entropy(b)) / 2, 0.0), 1.0
    )  # rounding may leave -1e-17


def divergence(day: pl.DataFrame, baseline: pl.DataFrame) -> float:
    """Of one feature's profile rows {value, rows} from those of the baseline (values may repeat:
    days add up).
    """

    def summed(table: pl.DataFrame, name: str) -> pl.DataFrame:
        return table.group_by("value").agg(pl.col("rows").sum().alias(name))

    both = (
        summed(day, "now")
        .join(summed(baseline, "before"), on="value", how="full", coalesce=True)
        .with_columns(pl.col("now").fill_null(0), pl.col("before").fill_null(0))
        .sort(["before", "value"], descending=[True, False])
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
    return jensen_shannon(both["now"].to_numpy(), both["before"].to_numpy())


def against_baseline(
    day: Artifact, earlier: Sequence[Artifact], *, first_day: str, threshold: float = THRESHOLD
) -> Drift:
    """A day's features against the days before it, feature by feature.

    Args:
        earlier: the days before, of the same kind; the last BASELINE_DAYS of them that have a
            profile count.
        first_day: the calendar's first; LOOK_BACK features of it are no baseline, nor
            LONG_LOOK_BACK features of its first HISTORY_DAYS, on which they are not judged either.
    """
    # an artifact of before there were profiles has none until it is materialised again
    with_profile = [
        artifact for artifact in earlier if profiles.PROFILE_FILE in artifact.manifest["files"]
    ][-BASELINE_DAYS:]
    days = tuple(str(artifact.partition) for artifact in with_profile)
    if not with_profile:
        return Drift({}, threshold, days, "no day before this one has a profile")
    now = pl.read_parquet(day.path(profiles.PROFILE_FILE))
    settled = (date.fromisoformat(first_day) + timedelta(days=c.HISTORY_DAYS)).isoformat()
    before = pl.concat(
        [
            pl.read_parquet(artifact.path(profiles.PROFILE_FILE)).with_columns(
                pl.lit(name).alias(_DAY)
            )
            for name, artifact in zip(days, with_profile, strict=True)
        ]
    )
    found: dict[str, float] = {}
    for (feature,), part in now.group_by("feature", maintain_order=True):
        base = before.filter(pl.col("feature") == feature)
        if feature in LOOK_BACK:
            base = base.filter(pl.col(_DAY) != first_day)
        if feature in LONG_LOOK_BACK:
            base = base.filter((pl.col(_DAY) >= settled) & (str(day.partition) >= settled))
        if min(part["rows"].sum(), base["rows"].sum()) >= MINIMUM_ROWS:
            found[str(feature)] = divergence(part, base)
    return Drift(found, threshold, days, "" if found else f"fewer than {MINIMUM_ROWS} rows")
