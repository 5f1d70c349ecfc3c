"""Export the days of a shop whose catalogue grows, and bring them with ``recsys ingest``.

The visitors are the simulator's. Nothing of it reaches the home but three files, as a shop exports
them: the log of a day, all its products, and all its users. So the home has no truth.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.bench.harness.part import BenchFailed
from recsys_assets.lib.landing import zone
from recsys_assets.lib.simulator import shop
from recsys_assets.settings import Settings

#: Days between two launches, and products of a launch.
EVERY, PRODUCTS = 5, 3
_OF_A_PRODUCT = (
    c.ITEM_ID,
    "name",
    "description",
    c.CATEGORY_L1,
    c.CATEGORY_L2,
    c.PRICE,
    c.ITEM_GENDER,
)


class GrowingShop:
    """Holds the simulated shop, what it has launched, and its exports.

    Args:
        settings: of the home that reads the exports.
        folder: of the shop, outside of the home.
        grows_from: first day (ISO) on which products may be launched.
    """

    def __init__(self, settings: Settings, folder: Path, grows_from: str) -> None:
        self.settings, self.folder = settings, folder
        self.grows_from = date.fromisoformat(grows_from)
        #: Launched product → the older one that it resembles.
        self.launched: dict[str, str] = {}

    def bring(self, days: Sequence[str]) -> None:
        """Simulate and export days, oldest first, and ingest them.

        Raises:
            BenchFailed: ``recsys ingest`` refused them.
        """
        shop.simulate(
            self.folder,
            self.settings.scale,
            days,
            self.settings.seed,
            start=partitions.calendar_start(self.settings).isoformat(),
            zone=partitions.time_zone(self.settings),
        )
        users, products, logs = self.folder / "users.csv", self.folder / "products.csv", []
        pl.read_parquet(self.folder / zone.USERS_FILE).write_csv(users)
        for day in days:
            self._launch(day)
            logs.append(self.folder / f"log-{day}.csv")
            self._events(day).write_csv(logs[-1])
        self._products().write_csv(products)
        self._ingest([*map(str, logs), "--catalogue", str(products), "--users", str(users)])

    def _launch(self, day: str) -> None:
        """Launch PRODUCTS products on every EVERY-th day; each resembles a popular one."""
        passed = (date.fromisoformat(day) - self.grows_from).days
        if passed < 0 or passed % EVERY:
            return
        known = set(self.launched.values())
        clicked = self._simulated(day).filter(pl.col(c.CLICK) == 1)
        popular = clicked.group_by(c.ITEM_ID).len().sort("len", c.ITEM_ID, descending=[True, False])
        chosen = [item for item in popular[c.ITEM_ID] if item not in known][:PRODUCTS]
        self.launched |= {f"new-{day}-{item}": item for item in chosen}

    def _simulated(self, day: str) -> pl.DataFrame:
        return pl.read_parquet(
            self.folder / zone.INTERACTIONS_FOLDER / day / zone.SIMULATED_FILE
        ).select(*c.RAW_INTERACTIONS)

    def _events(self, day: str) -> pl.DataFrame:
        """Return the log of a day: every second visitor meets the new product, not the old one."""
        successor = {old: new for new, old in self.launched.items()}
        meets = pl.col(c.USER_ID).hash(seed=0) % 2 == 0
        item = pl.col(c.ITEM_ID)
        return self._simulated(day).with_columns(
            pl.when(meets).then(item.replace(successor)).otherwise(item).alias(c.ITEM_ID)
        )

    def _products(self) -> pl.DataFrame:
        items = pl.read_parquet(self.folder / zone.ITEMS_FILE).select(*_OF_A_PRODUCT)
        resembled = pl.DataFrame(
            {"new": [*self.launched], c.ITEM_ID: [*self.launched.values()]},
            schema={"new": pl.String, c.ITEM_ID: pl.String},
        )
        added = resembled.join(items, on=c.ITEM_ID, how="left", maintain_order="left")
        return pl.concat(
            [
                items,
                added.with_columns(
                    pl.col("new").alias(c.ITEM_ID), ("New: " + pl.col("name")).alias("name")
                ).select(*_OF_A_PRODUCT),
            ]
        )

    def _ingest(self, arguments: Sequence[str]) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "recsys_assets.cli.main", "ingest", *arguments],
            env={**os.environ, **self.settings.environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BenchFailed(f"recsys ingest {' '.join(arguments)}: {done.stderr[-2000:]}")
