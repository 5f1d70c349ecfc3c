"""Collects the state of visitors and items as of the moment of each query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.seen import KEPT_EVENTS
from recsys_assets.lib.landing.local_days import local_day
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.lib.served_check.subject import Subject
from recsys_assets.local_time import day_name, local_days
from recsys_assets.partitions import previous_day

_RECENT = (c.RECENT_CATEGORIES, c.RECENT_ITEMS, c.RECENT_TIMESTAMPS)


@dataclass(frozen=True)
class Moments:
    """Holds the state as of the moments of Q queries.

    Attributes:
        visitors: Q rows {query, user_id, timestamp, device_type, age, gender}, and the row of
            ``user_activity`` that is online then: _RECENT and "updated_at", null without clicks.
        acts: {query, item_id, event_type, age}: what the visitor did before, and how many local
            days before. Each once per day.
        rounds: queries that are asked together, in the order of time: of one local day, and of
            distinct visitors.
        popularity: local day → ``item_popularity`` of the day before, of all items.
    """

    visitors: pl.DataFrame
    acts: pl.DataFrame
    rounds: list[tuple[str, np.ndarray]]
    popularity: dict[str, pl.DataFrame]

    @classmethod
    def of(cls, subject: Subject, kept_days: int) -> Moments:
        """Read the state from the log and from the daily features.

        Args:
            subject: the release and its queries.
            kept_days: local days that the stores keep what a visitor did.
        """
        queries, zone = subject.queries, subject.queries.time_zone
        asked = queries.frame.select(
            pl.int_range(pl.len(), dtype=pl.Int64).alias("query"),
            c.USER_ID,
            c.TIMESTAMP,
            c.DEVICE_TYPE,
            c.AGE,
            c.GENDER,
        )
        by_day = {str(one.partition): one for one in subject.features}
        rounds = list(_rounds(queries))
        popularity = {
            day: clicks_before(by_day[previous_day(day)], queries.item_ids)
            for day in dict.fromkeys(day for day, _ in rounds)
        }
        return cls(
            _with_recent(asked, list(subject.features)),
            _acts(asked, subject, kept_days, zone),
            rounds,
            popularity,
        )


def clicks_before(features: Artifact, item_ids: np.ndarray) -> pl.DataFrame:
    """Return {item_id, item_clicks} of a day, 0 for items of the catalogue that came later.

    Without a row in the store, serving would take such an item's clicks of the release's own day.
    """
    known = pl.read_parquet(features.path("item_popularity.parquet"))
    known = known.select(c.ITEM_ID, pl.col(c.ITEM_CLICKS).cast(pl.Float32))
    later = np.setdiff1d(item_ids.astype(str), known[c.ITEM_ID].to_numpy().astype(str))
    zeros = {c.ITEM_ID: later.tolist(), c.ITEM_CLICKS: [0.0] * len(later)}
    return pl.concat([known, pl.DataFrame(zeros, schema=known.schema)])


def _with_recent(asked: pl.DataFrame, features: list[Artifact]) -> pl.DataFrame:
    """Join each visitor's row of ``user_activity`` that was written last before the moment."""
    rows = (
        pl.scan_parquet([one.path("user_activity.parquet") for one in features])
        .join(asked.lazy().select(c.USER_ID).unique(), on=c.USER_ID, how="semi")
        .select(c.USER_ID, *_RECENT, updated_at=pl.col(c.TIMESTAMP))
        # of the rows of one second, the last one is written
        .unique([c.USER_ID, "updated_at"], keep="last", maintain_order=True)
        .collect()
        .sort("updated_at")
    )
    return (
        asked.sort(c.TIMESTAMP)
        .join_asof(
            rows,
            left_on=c.TIMESTAMP,
            right_on="updated_at",
            by=c.USER_ID,
            strategy="backward",
            allow_exact_matches=False,
            coalesce=False,
            check_sortedness=False,
        )
        .sort("query")
    )


def _acts(asked: pl.DataFrame, subject: Subject, kept_days: int, zone: str) -> pl.DataFrame:
    asks = asked.filter(pl.col(c.USER_ID) != c.MISSING).select(
        "query", c.USER_ID, asked_at=pl.col(c.TIMESTAMP)
    )
    return (
        scan_interactions(subject.log)
        .filter(pl.col(c.EVENT_TYPE).is_in(KEPT_EVENTS))
        .select(c.USER_ID, c.ITEM_ID, c.EVENT_TYPE, c.TIMESTAMP)
        .join(asks.lazy(), on=c.USER_ID)
        .with_columns(
            age=local_day(pl.col("asked_at"), zone) - local_day(pl.col(c.TIMESTAMP), zone)
        )
        .filter(pl.col(c.TIMESTAMP) < pl.col("asked_at"), pl.col("age") < kept_days)
        .select("query", c.ITEM_ID, c.EVENT_TYPE, "age")
        .unique()
        .sort("query", "age", c.ITEM_ID, c.EVENT_TYPE)
        .collect()
    )


def _rounds(queries: Queries) -> Iterator[tuple[str, np.ndarray]]:
    """Yield local day → queries; a visitor's next query of the day is of the next round."""
    days = local_days(queries.frame[c.TIMESTAMP].to_numpy(), queries.time_zone)
    for day in np.unique(days):
        inside = np.flatnonzero(days == day)
        turn = (
            queries.frame[inside]
            .select(
                pl.when(pl.col(c.USER_ID) == c.MISSING)
                .then(0)
                .otherwise(pl.int_range(pl.len()).over(c.USER_ID))
            )
            .to_series()
            .to_numpy()
        )
        for number in range(int(turn.max()) + 1):
            yield day_name(int(day)), inside[turn == number]
