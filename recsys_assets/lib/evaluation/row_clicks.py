"""Gives queries another click history than the log's, and lets sources read it.

So a list can be asked for as it would be without some clicks, at the same moment. The history of a
query is that of its row: the lists of click_history.parquet and the features that follow from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.lib.evaluation.latest_clicks import LatestClicks
from recsys_assets.lib.evaluation.queries import Queries
from recsys_assets.lib.features.activity import activity_features

#: Features of the row's own item, which no list reads.
_OF_ITEM = (c.CATEGORY_CLICKS_LOOK_BACK, c.CATEGORY_CLICKS_24H)


@dataclass(frozen=True)
class RowClicks(LatestClicks):
    """Gives each query the latest clicks of its own row."""

    @classmethod
    def like(cls, latest: LatestClicks) -> RowClicks:
        """Return the same clicks of all visitors; those of a query are its row's."""
        found = cls(*(getattr(latest, one.name) for one in fields(LatestClicks)))
        if (streamed := latest.__dict__.get("streamed")) is not None:
            found.__dict__["streamed"] = streamed  # a large log takes seconds
        return found

    def entries(
        self, queries: Queries, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what ``LatestClicks.entries`` returns; a masked visitor has no click."""
        frame = queries.frame[rows].select(
            *(
                pl.when(pl.col(c.USER_ID) != c.MISSING).then(name).fill_null([]).alias(name)
                for name in (c.HISTORY_ITEMS, c.HISTORY_AGES)
            )
        )
        size = frame[c.HISTORY_ITEMS].list.len().to_numpy()
        owner = np.repeat(np.arange(len(rows)), size)
        clicked = frame.explode(c.HISTORY_ITEMS, c.HISTORY_AGES, empty_as_null=False)
        place = (
            clicked[c.HISTORY_ITEMS]
            .replace_strict(
                self.clicks.items, pl.Series(self.places), default=-1, return_dtype=pl.Int64
            )
            .to_numpy()
        )
        ages = clicked[c.HISTORY_AGES].to_numpy().astype(np.float64)
        kept = place >= 0
        return owner[kept], place[kept], ages[kept]


def as_before(queries: Queries, rows: np.ndarray, earlier: np.ndarray) -> Queries:
    """Return queries as they would be if their visitors had not clicked since earlier queries.

    Moment, device and true item stay. The clicks that a query looks back on are those of the
    earlier one, older by the time between them. The look-back is not cut anew, so its oldest clicks
    may be older by that time. What the seen filter drops is what it dropped then.

    Args:
        queries: of both.
        rows: int64 [n], the queries.
        earlier: int64 [n], an earlier query of the same visitor for each of them.
    """
    now, then = queries.frame[rows], queries.frame[earlier]
    at = queries.frame[c.TIMESTAMP].to_numpy()
    passed = (at[rows] - at[earlier]) / c.SECONDS_PER_HOUR
    ages = then[c.HISTORY_AGES].to_list()
    older = [
        [age + hours for age in of_query] for of_query, hours in zip(ages, passed, strict=True)
    ]
    frame = now.with_columns(
        *then.select(c.HISTORY_CATEGORIES, c.HISTORY_ITEMS, c.CLICKS_LOOK_BACK),
        pl.Series(c.HISTORY_AGES, older, pl.List(pl.Float32)),
        *_features(then, older),
        *(pl.lit(0.0, pl.Float32).alias(name) for name in _OF_ITEM),
    )
    seen = queries.subset(earlier)
    return Queries(
        frame,
        queries.item_ids,
        queries.clicks,
        queries.true[rows],
        seen.seen_start,
        seen.seen_items,
        {},
        queries.counts,
    )


def _features(then: pl.DataFrame, ages: Sequence[Sequence[float]]) -> pl.DataFrame:
    """Return top_category, clicks_24h and hours_since_click of histories.

    Args:
        then: {categories, clicks_24h}, as they were.
        ages: hours since each of the latest clicks, oldest first.
    """
    found = []
    for categories, of_query, before in zip(
        then[c.HISTORY_CATEGORIES].to_list(), ages, then[c.CLICKS_24H].to_list(), strict=True
    ):
        latest = len(of_query)
        times = [-round(age * c.SECONDS_PER_HOUR) for age in of_query]
        top, clicks, hours = activity_features(categories[len(categories) - latest :], times, 0)
        # ages of older clicks are not kept: a day with more clicks keeps its number
        found.append((top, before if clicks == c.ITEM_HISTORY else clicks, hours))
    return pl.DataFrame(
        found,
        schema={
            c.TOP_CATEGORY: pl.String,
            c.CLICKS_24H: pl.Float32,
            c.HOURS_SINCE_CLICK: pl.Float32,
        },
        orient="row",
    )
