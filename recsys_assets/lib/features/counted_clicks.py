"""Choose the clicks that count for what is popular now."""

from __future__ import annotations

import polars as pl

from recsys_assets.columns import ITEM_ID, MISSING, TIMESTAMP, USER_ID
from recsys_assets.lib.sources.forward_decay import APART


def counted(clicks: pl.DataFrame) -> pl.DataFrame:
    """Return the clicks that count, ordered by time and item.

    A click does not count if the visitor clicked the item less than APART seconds before it. Clicks
    without a visitor all count, because they are not of one person.

    Args:
        clicks: {user_id, item_id, timestamp} at least, without impressions.
    """
    before = pl.col(TIMESTAMP).shift().over(USER_ID, ITEM_ID, order_by=TIMESTAMP)
    repeated = (pl.col(TIMESTAMP) - before < APART) & (pl.col(USER_ID) != MISSING)
    return clicks.filter(~repeated.fill_null(False)).sort(TIMESTAMP, ITEM_ID)
