"""Part: ingest a year of a small shop's log by one run of ``daily_ingest``.

The log is drawn here, not by the simulator, so that its cost per row is small beside that of the
ingest. Inside the clock is the run itself: raw interactions, features and masked rows of every day,
with contracts, checks and Dagster's events. Outside: drawing the log, the import of the
definitions, users and items.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.bench.data.features import ingest_catalogue
from recsys_assets.bench.harness.part import main
from recsys_assets.definitions import defs
from recsys_assets.lib.landing import zone
from recsys_assets.operations import jobs
from recsys_assets.settings import Settings, get_settings

USERS, ITEMS, CATEGORIES = 3_000, 400, 12
CLICK_RATE = 0.3


def write_log(settings: Settings, days: list[str], rows_per_day: int) -> None:
    """Write the landing zone: a catalogue without pictures, users, and one file per day."""
    random, landing = np.random.default_rng(settings.seed), Path(settings.landing)
    items = pl.DataFrame({c.ITEM_ID: [f"item-{n}" for n in range(ITEMS)]}).with_columns(
        *(pl.lit("").alias(name) for name in ("uuid", "name", "description", "image")),
        (pl.lit("category-") + (pl.int_range(pl.len()) % CATEGORIES).cast(pl.String)).alias(
            c.CATEGORY_L1
        ),
        pl.lit(c.UNKNOWN_CATEGORY).alias(c.CATEGORY_L2),
        pl.Series(c.PRICE, np.round(np.exp(random.normal(3, 1, ITEMS)) + 0.5, 2), pl.Float32),
        pl.lit("Any").alias(c.ITEM_GENDER),
        pl.lit(False).alias("promoted"),
    )
    users = pl.DataFrame({c.USER_ID: [f"user-{n}" for n in range(USERS)]}).with_columns(
        pl.lit(None, pl.Int64).alias(c.AGE), pl.lit(c.MISSING).alias(c.GENDER)
    )
    write_landed(items, c.RAW_ITEMS, landing / zone.ITEMS_FILE)
    write_landed(users, c.RAW_USERS, landing / zone.USERS_FILE)
    for day in days:
        start, _ = partitions.day_bounds(day)
        clicked = random.random(rows_per_day) < CLICK_RATE
        rows = pl.DataFrame(
            {
                c.EVENT_ID: [f"{day}-{n}" for n in range(rows_per_day)],
                c.USER_ID: [f"user-{n}" for n in random.zipf(1.3, rows_per_day) % USERS],
                c.ITEM_ID: [f"item-{n}" for n in random.zipf(1.2, rows_per_day) % ITEMS],
                c.TIMESTAMP: start + random.integers(0, 86_400, rows_per_day),
                c.DEVICE_TYPE: np.asarray(c.DEVICES)[random.integers(0, 3, rows_per_day)],
                c.EVENT_TYPE: np.where(clicked, c.VIEW, c.IMPRESSION),
                c.CLICK: clicked,
            }
        )
        write_landed(
            rows, c.RAW_INTERACTIONS, landing / zone.INTERACTIONS_FOLDER / day / "log.parquet"
        )


def write_landed(table: pl.DataFrame, schema: dict[str, str], path: Path) -> None:
    """Write a table in the form of its contract."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.select(
        pl.col(name).cast(getattr(pl, kind)) for name, kind in schema.items()
    ).write_parquet(path)


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Draw the log of the request's days and rows per day, ingest it and measure the run."""
    settings = get_settings()
    first = partitions.calendar_start(settings)
    days = partitions.days_between(first, first + timedelta(days=request["days"] - 1))
    write_log(settings, days, request["rows_per_day"])
    ingest_catalogue(settings, ArtifactStore(settings.artifacts))
    defs()
    started = time.perf_counter()
    jobs.run_jobs(settings, [("daily_ingest", (days[0], days[-1]))])
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "days": len(days), "rows": len(days) * request["rows_per_day"]}


if __name__ == "__main__":
    main(body)
