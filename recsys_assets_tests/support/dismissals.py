"""Dismissals that are added to a log at random."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys_assets import columns as c


def with_dismissals(log: pl.DataFrame, count: int, seed: int = 0) -> pl.DataFrame:
    """Return RAW_INTERACTIONS of a day with further rows.

    Visitors of the log dismiss items of the log, at moments between its first and its last event.
    """
    rng = np.random.default_rng([seed, 31])
    users, items = (log[name].unique().sort() for name in (c.USER_ID, c.ITEM_ID))
    at = np.array([log[c.TIMESTAMP].min(), log[c.TIMESTAMP].max()], np.int64)
    rows = (
        log.clear()
        .select(c.EVENT_ID)
        .vstack(pl.DataFrame({c.EVENT_ID: [f"dismissed-{at[0]}-{n}" for n in range(count)]}))
    )
    rows = rows.with_columns(
        users.gather(rng.integers(len(users), size=count)).alias(c.USER_ID),
        items.gather(rng.integers(len(items), size=count)).alias(c.ITEM_ID),
        pl.Series(c.TIMESTAMP, rng.integers(at[0], at[1] + 1, count)),
        pl.lit("mobile").alias(c.DEVICE_TYPE),
        pl.lit(c.DISMISS).alias(c.EVENT_TYPE),
        pl.lit(0, pl.Int8).alias(c.CLICK),
    )
    return pl.concat([log, rows.select(log.columns).cast(dict(log.schema))])
