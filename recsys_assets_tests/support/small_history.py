"""Three simulated days in Feast's offline tables, and the training rows of the same days."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys_assets.lib.feature_store.offline import write_offline
from recsys_assets.lib.features.point_in_time import interaction_features, item_popularity
from recsys_assets.lib.landing.zone import ITEMS_FILE, USERS_FILE
from recsys_assets.lib.simulator.shop import Scale, simulate
from recsys_assets.partitions import day_bounds
from recsys_assets.settings import Settings

DAYS = ["2026-11-18", "2026-11-19", "2026-11-20"]
STEP, NIGHT = (
    600,
    10_800,
)  # seconds: equal seconds are frequent, and the night's events fall on the stroke of midnight


def write_history(settings: Settings, landing: Path) -> pl.DataFrame:
    """Simulate into ``landing``, write the offline tables; returns the three days'
    INTERACTION_FEATURES.
    """
    simulate(landing, Scale("small", 60, 40, 600), DAYS, 7)
    # one in six visitors is not registered
    users = pl.read_parquet(landing / USERS_FILE).filter(pl.int_range(pl.len()) % 6 != 0)
    items = pl.read_parquet(landing / ITEMS_FILE)
    rows, earlier = [], None
    for day in DAYS:
        start, at = day_bounds(day)[0], pl.col("timestamp")
        today = pl.read_parquet(landing / "interactions" / day / "*.parquet").with_columns(
            pl.when(at < start + NIGHT).then(start).otherwise(at // STEP * STEP).alias("timestamp")
        )
        features, _, activity = interaction_features(
            today, earlier, users, items, day, look_back_days=7
        )
        write_offline(settings, users, items, activity, item_popularity(today, items, day), start)
        rows.append(features)
        earlier = today if earlier is None else pl.concat([earlier, today])
    return pl.concat(rows)
