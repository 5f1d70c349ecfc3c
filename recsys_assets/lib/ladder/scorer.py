"""Scores the catalogue by a simple rung, from each visitor's clicks before the query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.columns import ITEM_HISTORY, SECONDS_PER_DAY, SECONDS_PER_HOUR
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.click_ranges import ClickRanges, unroll
from recsys_assets.lib.ladder.item_to_item import ItemToItem
from recsys_assets.lib.raw.rows import scan_interactions


def read_clicks(interactions: Sequence[Artifact]) -> pl.DataFrame:
    """Return all events but impressions of some days.

    interactions: ``raw/interactions``.

    Returns:
        {event_id, user_id, item_id, timestamp}.
    """
    wanted = (c.EVENT_ID, c.USER_ID, c.ITEM_ID, c.TIMESTAMP)
    if not interactions:
        return pl.DataFrame(schema={name: getattr(pl, c.RAW_INTERACTIONS[name]) for name in wanted})
    return (
        scan_interactions(interactions)
        .filter(pl.col(c.EVENT_TYPE) != c.IMPRESSION)
        .select(wanted)
        .collect()
    )


@dataclass(frozen=True)
class RungScorer:
    """A simple rung as a scorer of queries; see ``list_metrics.Scorer``."""

    name: str
    model: ItemToItem
    clicks: ClickRanges
    places: np.ndarray  # int64, row of the model's items for each of ``clicks.items``; -1: none
    look_back_days: int  # a query's clicks are those of these days before it

    @classmethod
    def of(
        cls, name: str, model: ItemToItem, clicks: pl.DataFrame, look_back_days: int
    ) -> RungScorer:
        """Arrange the clicks that queries look back on.

        Args:
            name: of the rung.
            model: of the rung.
            clicks: of ``read_clicks``, of the days of the queries and of those before.
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
        return cls(name, model, ranges, model.rows_of(ranges.items.to_list()), look_back_days)

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the inner products of the queries ``rows`` with the catalogue, float32 [n, I].

        Items that the model lacks are never shown.
        """
        found = self.model.queries(*self._latest(queries, rows)) @ self.model.vectors.T
        own = self.model.rows_of(queries.item_ids.tolist())
        return np.where(own >= 0, found[:, own], np.float32(-np.inf))

    def _latest(self, queries: Queries, rows: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
        """Return the latest clicks of each query's visitor, [n, I], and their ages in hours."""
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
        indptr = np.concatenate([[0], np.cumsum(np.bincount(owner[kept], minlength=len(rows)))])
        shape = (len(rows), len(self.model.item_ids))
        entries = sp.csr_matrix((np.ones(int(kept.sum()), np.float32), place[kept], indptr), shape)
        return entries, ages[kept]
