"""Logs of shops that differ in how often visitors have the same item again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl

from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.columns import PURCHASE, VIEW

#: 2026-06-01 00:00 UTC
FIRST_DAY, START = date(2026, 6, 1), 1_780_272_000
Row = tuple[int, int, int, str]  # visitor, item, second since START, event


def groceries(visitors: int = 300, days: int = 9, *, seed: int = 1) -> list[Row]:
    """Shoppers with 12 staples each who buy a basket of 6 about every third day."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for visitor in range(visitors):
        staples = rng.integers(0, 400, 12)
        for day in np.flatnonzero(rng.random(days) < 0.35).tolist():
            basket = np.where(rng.random(6) < 0.6, rng.choice(staples, 6), rng.integers(0, 400, 6))
            for line, item in enumerate(sorted(set(basket.tolist()))):
                at = 86_400 * day + 36_000 + 60 * line + visitor
                rows += [(visitor, item, at, VIEW), (visitor, item, at + 30, PURCHASE)]
    return rows


def fashion(visitors: int = 400, days: int = 9, *, seed: int = 1) -> list[Row]:
    """Shoppers who look at an item on several visits, buy it, and do not come back to it."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for visitor in range(visitors):
        wanted = rng.permutation(400)[:40].tolist()
        thought_of: list[int] = []
        for day in range(days):
            if rng.random() < 0.4:
                continue
            thought_of = [*thought_of, wanted.pop()][-2:]
            for line, item in enumerate(thought_of):
                at = 86_400 * day + 36_000 + 600 * line + visitor
                rows.append((visitor, item, at, VIEW))
            if rng.random() < 0.5:
                item = thought_of.pop(0)
                rows.append((visitor, item, 86_400 * day + 40_000 + visitor, PURCHASE))
    return rows


def novelty(visitors: int = 300, days: int = 9, *, seed: int = 1) -> list[Row]:
    """Readers who never click the same again."""
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, 201) ** 0.6
    popularity /= popularity.sum()
    rows: list[Row] = []
    for visitor in range(visitors):
        items = rng.choice(200, days * 2, replace=False, p=popularity).tolist()
        for day in range(days):
            for line in range(2):
                at = 86_400 * day + 36_000 + 600 * line + visitor
                rows.append((visitor, items.pop(), at, VIEW))
    return rows


def publish(store: ArtifactStore, rows: Sequence[Row]) -> list[Artifact]:
    """Publish ``raw/interactions`` of every day."""
    frame = pl.DataFrame(rows, schema=["visitor", "item", "at", "event"], orient="row").select(
        event_id=pl.format("e{}", pl.int_range(pl.len())),
        user_id=pl.format("v{}", "visitor"),
        item_id=pl.format("i{}", "item"),
        timestamp=START + pl.col("at"),
        event_type="event",
        day=pl.col("at") // 86_400,
    )
    found = []
    for day in range(int(frame["day"].max()) + 1):  # type: ignore[arg-type]
        with store.stage(
            "raw/interactions", (FIRST_DAY + timedelta(days=day)).isoformat()
        ) as staged:
            of_day = frame.filter(pl.col("day") == day).drop("day")
            of_day.write_parquet(staged.path / "interactions.parquet")
            found.append(staged.publish())
    return found
