"""Gives each query the latest clicks of its visitor, as the online store has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.columns import ITEM_HISTORY, SECONDS_PER_DAY, SECONDS_PER_HOUR
from recsys_assets.lib.evaluation.item_rows import rows_in
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.streamed_clicks import StreamedClicks
from recsys_assets.lib.features.click_ranges import ClickRanges, unroll
from recsys_assets.lib.raw.rows import scan_interactions


def read_clicks(interactions: Sequence[Artifact]) -> pl.DataFrame:
    """Return all events of interest of some days.

    interactions: ``raw/interactions``.

    Returns:
        {event_id, user_id, item_id, timestamp}.
    """
    wanted = (c.EVENT_ID, c.USER_ID, c.ITEM_ID, c.TIMESTAMP)
    if not interactions:
        return pl.DataFrame(schema={name: getattr(pl, c.RAW_INTERACTIONS[name]) for name in wanted})
    return (
        scan_interactions(interactions)
        .filter(pl.col(c.EVENT_TYPE).is_in(c.INTEREST_EVENTS))
        .select(wanted)
        .collect()
    )


@dataclass(frozen=True)
class LatestClicks:
    """Holds the clicks that queries look back on."""

    clicks: ClickRanges
    places: np.ndarray  # int64, row of the wanted items for each of ``clicks.items``; -1: none
    look_back_days: int  # a query's clicks are those of these days before it
    everyone: pl.DataFrame  # {user_id, item_id, timestamp} of all visitors
    item_ids: Sequence[str] | np.ndarray  # the wanted items

    @classmethod
    def of(
        cls, clicks: pl.DataFrame, item_ids: Sequence[str] | np.ndarray, look_back_days: int
    ) -> LatestClicks:
        """Arrange clicks.

        Args:
            clicks: of ``read_clicks``, of the days of the queries and of those before.
            item_ids: the items whose rows are wanted.
            look_back_days: days of 24 hours of clicks that a query has.
        """
        known = clicks.filter(pl.col(c.USER_ID) != c.MISSING)
        times = known[c.TIMESTAMP].to_numpy()
        ranges = ClickRanges.of(
            known.with_columns(pl.lit(c.UNKNOWN_CATEGORY).alias(c.CATEGORY_L1)),
            int(times.min(initial=0)),
            int(times.max(initial=0)) + look_back_days * SECONDS_PER_DAY,
            look_back_days * SECONDS_PER_DAY,
        )
        return cls(
            ranges,
            rows_in(ranges.items.to_list(), item_ids),
            look_back_days,
            clicks.select(c.USER_ID, c.ITEM_ID, c.TIMESTAMP),
            item_ids,
        )

    @cached_property
    def streamed(self) -> StreamedClicks:
        """Clicks of all visitors, by rows of the wanted items."""
        return StreamedClicks.of(self.everyone, self.item_ids)

    def entries(
        self, queries: Queries, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the latest ITEM_HISTORY clicks of each query's visitor, oldest first.

        Clicks on items without a row are left out.

        Args:
            queries: whose visitors are wanted.
            rows: int64 [n], of the queries.

        Returns:
            the position in ``rows``, the item's row, and the age in hours of each click.
        """
        frame = queries.frame[rows]
        asked = frame.select(c.USER_ID).join(
            self.clicks.users, on=c.USER_ID, how="left", maintain_order="left"
        )
        at = frame[c.TIMESTAMP].to_numpy()
        code = asked["code"].fill_null(0).to_numpy()
        known = asked["code"].is_not_null().to_numpy()
        start, end = self.clicks.before(code, at, self.look_back_days * SECONDS_PER_DAY)
        start = np.where(known, np.maximum(start, end - ITEM_HISTORY), 0)
        end = np.where(known, end, 0)
        owner, position = unroll(start, end)
        place = self.places[self.clicks.item[position]] if len(position) else position
        kept = place >= 0
        ages = (at[owner] - self.clicks.time[position]) / SECONDS_PER_HOUR
        return owner[kept], place[kept], ages[kept]
