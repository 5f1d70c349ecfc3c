"""Write one request in raw columns, for the compiled transform and for NVTabular."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact
from recsys_assets.bench.harness.part import BenchFailed

#: Candidates of the measured request, as retrieval returns them; fewer for a smaller catalogue.
REQUEST_ITEMS = 300


def write_request(features: Artifact, folder: Path) -> None:
    """Write one visit and its candidates in raw columns.

    The visit is a clicked row of a registered visitor, because only clicked rows have a click
    history. The candidates are the day's first items.

    Args:
        features: the feature rows of a day (features/interactions).
        folder: to create; holds history.parquet, user.parquet, context.parquet, item.parquet and
            affinity.parquet.

    Raises:
        BenchFailed: the day has no such row.
    """
    rows = pl.read_parquet(features.path("features.parquet"))
    histories = pl.read_parquet(features.path("click_history.parquet"))
    visit = (
        rows.filter(pl.col(c.AGE).is_not_null() & (pl.col(c.TOP_CATEGORY) != c.MISSING))
        .join(histories, on=c.EVENT_ID)
        .head(1)
    )
    if visit.is_empty():
        raise BenchFailed(
            f"no visitor of {features.partition} has clicked before: take a larger scale"
        )
    items = rows.unique(c.ITEM_ID, keep="first", maintain_order=True).head(REQUEST_ITEMS)
    n_long, n24 = (int(visit[name].item()) for name in (c.CLICKS_LOOK_BACK, c.CLICKS_24H))
    history = visit["categories"].item()
    counts = {
        c.CLICKS_LOOK_BACK: pl.lit(n_long),
        c.CLICKS_24H: pl.lit(n24),
        **{
            name: _times(pl.col(c.CATEGORY_L1), history[len(history) - n :])
            for name, n in ((c.CATEGORY_CLICKS_LOOK_BACK, n_long), (c.CATEGORY_CLICKS_24H, n24))
        },
    }
    affinity = items.with_columns(
        counted.cast(pl.Float32).alias(name) for name, counted in counts.items()
    )
    folder.mkdir()
    pl.DataFrame({"categories": history}).write_parquet(folder / "history.parquet")
    for name, table, columns in (
        (
            "user",
            visit,
            (
                c.USER_ID,
                c.GENDER,
                c.TOP_CATEGORY,
                c.AGE,
                c.CLICKS_24H,
                c.HOURS_SINCE_CLICK,
                c.CLICKS_LOOK_BACK,
            ),
        ),
        ("context", visit, (c.DEVICE_TYPE, c.TIMESTAMP)),
        ("item", items, (*c.ITEM_CATEGORICAL, c.PRICE, c.ITEM_CLICKS)),
        ("affinity", affinity, tuple(counts)),
    ):
        table.select(columns).write_parquet(folder / f"{name}.parquet")


def _times(column: pl.Expr, values: Sequence[str]) -> pl.Expr:
    """Return how often each row's value is among ``values``."""
    counts = Counter(values)
    return column.replace_strict(
        list(counts), list(counts.values()), default=0, return_dtype=pl.Int64
    )
