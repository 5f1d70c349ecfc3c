"""Build daily features and masked train sets, and check features for leakage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.features import point_in_time as features
from recsys_assets.lib.figures.series import number
from recsys_assets.lib.landing.arrivals import late_rows, since
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.local_time import UTC
from recsys_assets.partitions import previous_day
from recsys_assets.release_files import DISMISSALS

LEAKAGE_SAMPLE = 25  # moments at which features are recomputed without the future
#: Rows of several moments that are recomputed together; bounds the copies of visitors' rows.
LEAKAGE_ROWS = 20_000


def _frames(
    inputs: Mapping[str, Any],
) -> tuple[pl.DataFrame, pl.DataFrame | None, pl.DataFrame, pl.DataFrame]:
    """Return the day's rows, the earlier days' clicks (or None), users and items.

    Rows have the column ARRIVED only where some are late: without it, computing is faster.
    """
    *before, today = inputs["interactions"]
    columns = c.ARRIVED_INTERACTIONS if _late(today) else c.RAW_INTERACTIONS
    return (
        scan_interactions([today]).select(*columns).collect(),
        _clicks(before) if before else None,
        pl.read_parquet(inputs["users"].path("users.parquet")),
        pl.read_parquet(inputs["items"].path("items.parquet")),
    )


def _clicks(days: Sequence[Artifact]) -> pl.DataFrame:
    """Return the clicks of earlier days; features use no other rows of them."""
    clicked = pl.col(c.EVENT_TYPE).is_in(c.INTEREST_EVENTS)
    if not any(map(_late, days)):
        return scan_interactions(days).filter(clicked).select(*features.NEEDED).collect()
    # a day without late rows may be of an older form, without the column
    return pl.concat(
        scan_interactions([day])
        .filter(clicked)
        .select(*features.NEEDED, c.ARRIVED if _late(day) else pl.col(c.TIMESTAMP).alias(c.ARRIVED))
        for day in days
    ).collect()


def _late(day: Artifact) -> bool:
    """Return whether some rows of raw/interactions of a day arrived late."""
    return bool(day.metrics.get("late", 0))


def write_features(
    inputs: Mapping[str, Any], day: str, target: Path, zone: str = UTC, *, look_back_days: int
) -> dict[str, Any]:
    """Write a day's features and what its clicks leave for later; return the metrics.

    The files are features.parquet (one row per exposure), click_history.parquet (one row per
    clicked exposure), user_activity.parquet (one row per second with a click of a visitor) and
    item_popularity.parquet (one row per item). A day with dismissals has DISMISSALS too.
    """
    today, earlier, users, items = _frames(inputs)
    rows, history, activity = features.interaction_features(
        today, earlier, users, items, day, zone, look_back_days=look_back_days
    )
    rows.write_parquet(target / "features.parquet")
    history.write_parquet(target / "click_history.parquet")
    activity.write_parquet(target / "user_activity.parquet")
    features.item_popularity(today, items, day, zone).write_parquet(
        target / "item_popularity.parquet"
    )
    dismissed = _dismissals(today, earlier, users, items, day, zone, look_back_days)
    if dismissed.height:
        dismissed.write_parquet(target / DISMISSALS)
    return {
        **({"dismissals": dismissed.height} if dismissed.height else {}),
        "rows": rows.height,
        "late_events": late_rows(today) if c.ARRIVED in today.columns else 0,
        "click_rate": number(rows[c.CLICK].mean()),
        "users": rows[c.USER_ID].n_unique(),
        "items": rows[c.ITEM_ID].n_unique(),
        "without_top_category": number((rows[c.TOP_CATEGORY] == c.MISSING).mean()),
        "without_history": number((rows[c.CLICKS_LOOK_BACK] == 0).mean()),
        "users_without_age": number(rows[c.AGE].is_null().mean()),
    }


def _dismissals(
    today: pl.DataFrame,
    earlier: pl.DataFrame | None,
    users: pl.DataFrame,
    items: pl.DataFrame,
    day: str,
    zone: str,
    look_back_days: int,
) -> pl.DataFrame:
    """Return INTERACTION_FEATURES as of just before each dismissal of a day, click 0.

    They are apart from the exposures, so that a dismissal changes no other row, count or history.
    """
    rows = today.filter(pl.col(c.EVENT_TYPE) == c.DISMISS)
    if rows.is_empty():
        return pl.DataFrame()
    visitors = rows.select(c.USER_ID).unique()
    before = today.clear() if earlier is None else earlier
    found, _, _ = features.interaction_features(
        today.join(visitors, on=c.USER_ID, how="semi"),
        None if earlier is None else earlier.join(visitors, on=c.USER_ID, how="semi"),
        users,
        items,
        day,
        zone,
        features.item_popularity(before, items, previous_day(day), zone),
        look_back_days=look_back_days,
        shown_by=(c.DISMISS,),
    )
    return found


def changed_without_the_future(
    inputs: Mapping[str, Any], built: Artifact, day: str, zone: str = UTC, *, look_back_days: int
) -> int:
    """Count sampled rows whose features change without the future; must be 0.

    For each sampled moment, features are computed again without any event or outcome from this
    moment on.
    """
    today, earlier, users, items = _frames(inputs)
    rows = pl.read_parquet(built.path("features.parquet")).drop(c.CLICK)
    moments = rows[c.TIMESTAMP].unique().sort()
    picked = moments.gather(
        np.linspace(0, len(moments) - 1, min(LEAKAGE_SAMPLE, len(moments))).astype(int)
    )
    history = pl.read_parquet(built.path("click_history.parquet"))
    popularity = features.item_popularity(
        today.clear() if earlier is None else earlier, items, previous_day(day), zone
    )
    counts = rows.filter(pl.col(c.TIMESTAMP).is_in(picked.implode())).group_by(c.TIMESTAMP).len()
    changed = 0
    for together in _groups(dict(counts.sort(c.TIMESTAMP).iter_rows())):
        sampled = rows.filter(pl.col(c.TIMESTAMP).is_in(together))
        again = _without_the_future(
            sampled,
            today,
            earlier,
            users,
            items,
            popularity,
            day,
            zone,
            look_back_days=look_back_days,
        )
        kept = sampled.join(again, on=rows.columns, how="semi", nulls_equal=True)
        changed += sampled.height - kept.height
        # A history must have as many clicks as the recomputed count, all of them earlier.
        lists = history.join(again.select(c.EVENT_ID, c.CLICKS_LOOK_BACK), on=c.EVENT_ID)
        counted = pl.col(c.CLICKS_LOOK_BACK)
        latest = pl.min_horizontal(counted, pl.lit(c.ITEM_HISTORY))
        changed += lists.filter(
            (pl.col(c.HISTORY_CATEGORIES).list.len() != counted)
            | (pl.col(c.HISTORY_ITEMS).list.len() != latest)
            | (pl.col(c.HISTORY_AGES).list.len() != latest)
            | (pl.col(c.HISTORY_AGES).list.min() <= 0).fill_null(False)
        ).height
    return changed


def _groups(rows: Mapping[int, int]) -> list[list[int]]:
    """Return the moments in groups of at most LEAKAGE_ROWS rows, or of one moment.

    ``rows`` maps moment → rows.
    """
    groups: list[list[int]] = []
    size = 0
    for moment, count in rows.items():
        if not groups or size + count > LEAKAGE_ROWS:
            groups.append([])
            size = 0
        groups[-1].append(moment)
        size += count
    return groups


def _without_the_future(
    sampled: pl.DataFrame,
    today: pl.DataFrame,
    earlier: pl.DataFrame | None,
    users: pl.DataFrame,
    items: pl.DataFrame,
    popularity: pl.DataFrame,
    day: str,
    zone: str,
    *,
    look_back_days: int,
) -> pl.DataFrame:
    """Return the features of sampled rows, computed from what came before each row's moment.

    Features depend on the visitor's own rows only, and on the popularity of the day before. So
    each visitor of a moment becomes a visitor of its own, with a copy of the rows up to this
    moment, and all moments are computed at once.
    """
    visitors = sampled.select(c.USER_ID, pl.col(c.TIMESTAMP).alias("moment")).unique()
    own = pl.format("{} {}", "moment", c.USER_ID)
    copies = today.join(visitors, on=c.USER_ID)
    now = pl.col(c.TIMESTAMP) == pl.col("moment")
    # Exposures of the moment stay, without their outcome.
    past = pl.concat(
        [
            copies.filter(_had_arrived(copies)),
            copies.filter(now & pl.col(c.EVENT_TYPE).is_in(c.EXPOSURE_EVENTS)).with_columns(
                pl.lit(c.IMPRESSION).alias(c.EVENT_TYPE), pl.lit(0, pl.Int8).alias(c.CLICK)
            ),
        ]
    )
    again, _, _ = features.interaction_features(
        past.with_columns(own.alias(c.USER_ID)),
        None
        if earlier is None
        else earlier.join(visitors, on=c.USER_ID)
        .filter(_had_arrived(earlier))
        .with_columns(own.alias(c.USER_ID)),
        users.join(visitors, on=c.USER_ID).with_columns(own.alias(c.USER_ID)),
        items,
        day,
        zone,
        popularity,
        look_back_days=look_back_days,
    )
    split = pl.col(c.USER_ID).str.splitn(" ", 2).struct
    return again.filter(pl.col(c.TIMESTAMP).cast(pl.String) == split.field("field_0")).with_columns(
        split.field("field_1").alias(c.USER_ID)
    )


def _had_arrived(rows: pl.DataFrame) -> pl.Expr:
    """Return which rows existed before the column ``moment``."""
    known_since = since() if c.ARRIVED in rows.columns else pl.col(c.TIMESTAMP)
    return known_since < pl.col("moment")


def write_masked(source: Artifact, day: str, seed: int, target: Path) -> dict[str, Any]:
    """Write masked.parquet, the masked train set of a day; return the metrics.

    Dismissals are masked likewise, into DISMISSALS.

    known_* counts the rows that can be masked. masked_* is the share of these that is masked; it is
    absent if there is none.
    """
    rows = pl.read_parquet(source.path("features.parquet"))
    masked = features.mask(rows, day, seed)
    masked.write_parquet(target / "masked.parquet")
    if DISMISSALS in source.manifest["files"]:
        dismissed = pl.read_parquet(source.path(DISMISSALS))
        features.mask(dismissed, day, seed).write_parquet(target / DISMISSALS)
    found: dict[str, Any] = {"rows": masked.height}
    for name, column in (("visitors", c.USER_ID), ("devices", c.DEVICE_TYPE)):
        known = rows[column] != c.MISSING  # what is unknown cannot be masked
        found[f"maskable_{name}"] = int(known.sum())
        found[f"masked_{name}"] = number(masked.filter(known)[column].eq(c.MISSING).mean())
    return found
