"""Scores the catalogue by a simple rung, from each visitor's clicks before the query."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys_assets.lib.evaluation.inner_products import Products, inner_products
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.evaluation.row_clicks import RowClicks
from recsys_assets.lib.ladder.item_to_item import ItemToItem


@dataclass(frozen=True)
class RungScorer:
    """A simple rung as a scorer of queries; see ``list_metrics.Scorer``."""

    name: str
    model: ItemToItem
    clicks: LatestClicks
    products: Products = inner_products

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
        return cls(name, model, LatestClicks.of(clicks, model.item_ids, look_back_days))

    def of_rows(self) -> RungScorer:
        """Return the same rung, which reads the clicks of each query's row."""
        return replace(self, clicks=RowClicks.like(self.clicks))

    def scores(self, queries: Queries, rows: np.ndarray) -> np.ndarray:
        """Return the inner products of the queries ``rows`` with the catalogue, float64 [n, I].

        Items that the model lacks are never shown. Of equal items, such as those without a click,
        the one that comes first in the model is better, as in the index that serves.
        """
        near = self.products(self.model.queries(*self._latest(queries, rows)), self.model.vectors)
        # less than the distance to the next float32, so that no other items change places
        behind = np.arange(near.shape[1]) / (2 * near.shape[1])
        found = near - behind * np.spacing(np.abs(near)).astype(np.float64)
        own = self.model.rows_of(queries.item_ids.tolist())
        return np.where(own >= 0, found[:, own], -np.inf)

    def _latest(self, queries: Queries, rows: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
        """Return the latest clicks of each query's visitor, [n, I], and their ages in hours."""
        owner, place, ages = self.clicks.entries(queries, rows)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(rows)))])
        shape = (len(rows), len(self.model.item_ids))
        entries = sp.csr_matrix((np.ones(len(place), np.float32), place, indptr), shape)
        return entries, ages
