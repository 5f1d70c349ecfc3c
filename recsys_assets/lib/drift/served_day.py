"""Read what a day's artifacts hold of the log of answers."""

from __future__ import annotations

import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.drift.answers import RELEASE
from recsys_assets.lib.landing.served_answers import ANSWER_ID, ARM, AT
from recsys_assets.lib.raw.rows import INTERACTIONS_FILE
from recsys_assets.lib.raw.served import CLICKED, POSITION, SCORE, SERVED_FILE

MONITOR_SERVED = "monitor/served"
_SHOWN: dict[str, pl.DataType | type[pl.DataType]] = {
    c.EVENT_ID: pl.String,
    ANSWER_ID: pl.String,
    c.USER_ID: pl.String,
    AT: pl.Int64,
    POSITION: pl.Int16,
    SCORE: pl.Float64,
    RELEASE: pl.Int64,
    "reasons": pl.List(pl.String),
    CLICKED: pl.Boolean,
    ARM: pl.String,
}


def shown_and_times(interactions: Artifact) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the shown items of a day, and {event_id, timestamp} of its events.

    A day without a log of answers has no shown item.

    Args:
        interactions: ``raw/interactions`` of the day.
    """
    times = pl.read_parquet(interactions.path(INTERACTIONS_FILE), columns=[c.EVENT_ID, c.TIMESTAMP])
    if SERVED_FILE not in interactions.manifest["files"]:
        return pl.DataFrame(schema=_SHOWN), times
    shown = pl.scan_parquet(interactions.path(SERVED_FILE))
    if ARM not in shown.collect_schema():  # of an older version
        shown = shown.with_columns(pl.lit(None, pl.String).alias(ARM))
    return shown.select(*_SHOWN).collect(), times


def releases_that_answered(interactions: Artifact) -> list[int]:
    """Return the numbers of the releases in the log of answers of a day, sorted."""
    if SERVED_FILE not in interactions.manifest["files"]:
        return []
    found = pl.read_parquet(interactions.path(SERVED_FILE), columns=[RELEASE])[RELEASE]
    return sorted(int(number) for number in found.drop_nulls().unique())


def families_by_day(store: ArtifactStore, day: str, most: int) -> dict[str, list[int]]:
    """Return day → families that answered on it, of the day and up to ``most`` days before it.

    The days are in order. Earlier days that were not measured are left out. The day itself is
    always there, with no family if it was not measured.
    """
    days = [*store.days_before(MONITOR_SERVED, day, most), day]
    found = {}
    for one in days:
        manifest = store.manifest(MONITOR_SERVED, one)
        metrics = manifest.get("metrics", {}) if manifest else {}
        found[one] = [int(family) for family in metrics.get("families", [])]
    return found
