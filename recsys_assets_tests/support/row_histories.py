"""Writes the clicks of a log into the rows of queries."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks
from recsys_assets.lib.evaluation.queries import Queries


def with_histories(queries: Queries, latest: LatestClicks) -> Queries:
    """The same queries; each row has the clicks that ``latest`` gives its query."""
    owner, place, ages = latest.entries(queries, np.arange(len(queries)))
    items = np.asarray(latest.item_ids)[place].tolist()
    of_query = [np.flatnonzero(owner == n) for n in range(len(queries))]
    frame = queries.frame.with_columns(
        pl.Series(
            c.HISTORY_ITEMS, [[items[n] for n in own] for own in of_query], pl.List(pl.String)
        ),
        pl.Series(c.HISTORY_AGES, [ages[own].tolist() for own in of_query], pl.List(pl.Float32)),
    )
    return dataclasses.replace(queries, frame=frame)
