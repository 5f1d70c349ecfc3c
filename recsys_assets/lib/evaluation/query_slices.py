"""Divide queries into slices: by visitor, device, hour, activity, repeats, new items."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.columns import EPOCH_WEEKDAY, SECONDS_PER_DAY, SECONDS_PER_HOUR
from recsys_assets.local_time import local_seconds
from recsys_assets.source_names import YOUNG_CLICKS

#: [first, last), local
HOURS = {"night": (0, 6), "morning": (6, 12), "afternoon": (12, 18), "evening": (18, 24)}
ACTIVITY = ("low", "medium", "high")  # thirds of the known visitors by their training exposures


#: Order of the slices; a name before a colon stands for all slices that begin with it.
SLICES = (
    "known_users",
    "cold_users",
    "activity:low",
    "activity:medium",
    "activity:high",
    "new_visitors",
    "light_visitors",
    "heavy_visitors",
    "new_items",
    "young_items",
    "cold_items",
    "device",
    "hour:night",
    "hour:morning",
    "hour:afternoon",
    "hour:evening",
    "weekend",
)


def slices_of(
    frame: pl.DataFrame,
    *,
    visitors: pl.Series,
    simulated: np.ndarray,
    exposures: np.ndarray,
    clicks_of_item: np.ndarray,
    repeats: np.ndarray,
    zone: str,
) -> dict[str, np.ndarray]:
    """Return the slices: name → bool [Q].

    Args:
        frame: of the queries, with timestamp, device_type and clicks_look_back.
        visitors: of the queries [Q].
        simulated: bool [Q], whether the visitor is.
        exposures: of the visitor in the training days, int64 [Q].
        clicks_of_item: of the true item in the training days, int64 [Q].
        repeats: bool [Q], whether the visitor has had the true item lately.
        zone: the shop's time zone.
    """
    real, known = ~simulated, exposures > 0
    moment = local_seconds(frame[c.TIMESTAMP].to_numpy(), zone)
    hour, weekday = (
        moment % SECONDS_PER_DAY // SECONDS_PER_HOUR,
        (moment // SECONDS_PER_DAY + EPOCH_WEEKDAY) % 7,
    )
    # simulated visitors replace the new ones where those are too few to judge by
    slices = {
        "known_users": real & known,
        "cold_users": simulated if simulated.any() else real & ~known,
        "repeats": real & repeats,
        "no_repeats": real & ~repeats,
    }
    device = frame[c.DEVICE_TYPE].fill_null(c.MISSING).to_numpy().astype(str)
    slices |= {f"device:{name}": real & (device == name) for name in np.unique(device).tolist()}
    slices |= {
        f"hour:{name}": real & (hour >= first) & (hour < last)
        for name, (first, last) in HOURS.items()
    }
    per_user = (
        pl.DataFrame({"visitor": visitors, "exposures": exposures})
        .filter(pl.Series(real & known))
        .unique()["exposures"]
    )
    if len(per_user):
        low, high = np.quantile(per_user.to_numpy(), [1 / 3, 2 / 3])
        third = (exposures > low).astype(int) + (exposures > high)
        slices |= {
            f"activity:{name}": real & known & (third == n) for n, name in enumerate(ACTIVITY)
        }
    slices |= _by_clicks(visitors, frame[c.CLICKS_LOOK_BACK].fill_null(0).to_numpy(), real)
    return {
        **slices,
        "new_items": real & (clicks_of_item == 0),
        "young_items": real & (clicks_of_item < YOUNG_CLICKS),
        "weekend": real & (weekday >= 5),
    }


def _by_clicks(visitors: pl.Series, clicks: np.ndarray, real: np.ndarray) -> dict[str, np.ndarray]:
    """Return the slices by the clicks of the look-back before the query: name → bool [Q].

    Visitors with some clicks are split at the median of their mean, so that those with many queries
    do not move it.
    """
    some = real & (clicks > 0)
    of_visitor = (
        pl.DataFrame({"visitor": visitors, "clicks": clicks})
        .filter(pl.Series(some))
        .group_by("visitor")
        .agg(pl.col("clicks").mean())["clicks"]
    )
    middle = np.median(of_visitor.to_numpy()) if len(of_visitor) else 0.0
    return {
        "new_visitors": real & (clicks == 0),
        "light_visitors": some & (clicks <= middle),
        "heavy_visitors": some & (clicks > middle),
    }


def slice_order(names: Iterable[str]) -> list[str]:
    """Sort slices by SLICES; others follow by name."""
    known = {name: number for number, name in enumerate(SLICES)}
    return sorted(
        names,
        key=lambda name: (known.get(name, known.get(name.partition(":")[0], len(known))), name),
    )
