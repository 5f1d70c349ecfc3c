"""Logs of shops that differ in how often visitors have the same item again."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys_assets.columns import PURCHASE, VIEW, EventType

#: 2026-06-01 00:00 UTC
START = 1_780_272_000


def groceries(
    visitors: int = 400, days: int = 9, *, event: EventType = PURCHASE, seed: int = 1
) -> pl.DataFrame:
    """Shoppers with 15 staples each who fill a basket of 8 about every third day."""
    rng = np.random.default_rng(seed)
    rows = []
    for visitor in range(visitors):
        staples = rng.integers(0, 2_000, 15)
        for day in np.flatnonzero(rng.random(days) < 0.35):
            basket = np.where(
                rng.random(8) < 0.6, rng.choice(staples, 8), rng.integers(0, 2_000, 8)
            )
            rows += [(visitor, int(item), int(day)) for item in set(basket.tolist())]
    return log(rows, event)


def fashion(
    visitors: int = 1_500,
    days: int = 9,
    *,
    items: int = 1_000,
    event: EventType = PURCHASE,
    seed: int = 1,
) -> pl.DataFrame:
    """Shoppers who choose by popularity, and take the same again once in 25 times."""
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, items + 1) ** 0.8
    popularity /= popularity.sum()
    rows = []
    for visitor in range(visitors):
        had: list[int] = []
        for day in np.flatnonzero(rng.random(days) < 0.3):
            for item in rng.choice(items, 3, p=popularity).tolist():
                again = had and rng.random() < 0.04
                rows.append(
                    (visitor, had[int(rng.integers(len(had)))] if again else item, int(day))
                )
            had += [row[1] for row in rows[-3:]]
    return log(rows, event)


def hits(visitors: int = 1_500, days: int = 9, seed: int = 1) -> pl.DataFrame:
    """Shoppers of a shop of eight items: all repeats are chance."""
    rng = np.random.default_rng(seed)
    return log(
        [
            (visitor, int(item), int(day))
            for visitor in range(visitors)
            for day in np.flatnonzero(rng.random(days) < 0.4)
            for item in rng.integers(0, 8, 2)
        ],
        PURCHASE,
    )


def log(rows: list[tuple[int, int, int]], event: EventType) -> pl.DataFrame:
    """RAW_INTERACTIONS columns of (visitor, item, day); a View precedes each purchase."""
    frame = pl.DataFrame(rows, schema=["visitor", "item", "day"], orient="row").select(
        user_id=pl.format("v{}", "visitor"),
        item_id=pl.format("i{}", "item"),
        timestamp=START + 86_400 * pl.col("day") + 36_000 + pl.int_range(pl.len()) % 3_600,
    )
    kinds = dict.fromkeys((VIEW, event))
    return pl.concat([frame.with_columns(event_type=pl.lit(kind)) for kind in kinds])
