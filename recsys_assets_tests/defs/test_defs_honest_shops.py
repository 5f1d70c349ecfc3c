"""Test that every blocking check of the daily assets passes on honest shops of many kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from recsys_assets import columns as c
from recsys_assets import partitions
from recsys_assets.artifacts import ArtifactStore
from recsys_assets.defs.features import daily
from recsys_assets.defs.raw import catalogue, interactions
from recsys_assets.lib.landing import zone
from recsys_assets.orchestration.resources import Platform
from recsys_assets.settings import Settings, get_settings

# the assets' calendar is the session's: it is fixed when they are imported
START = partitions.calendar_start(get_settings())
DAYS = partitions.history_days(get_settings())[:9]
Change = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Shop:
    """A kind of shop: its size, and how its rows differ from a usual one.

    Attributes:
        rows: rows per day.
        items, users, categories: numbers of them.
        log: changes a day's rows.
        factor: day number → how many times the usual rows.
        warns: checks that may warn.
    """

    rows: int = 120
    items: int = 30
    users: int = 25
    categories: int = 4
    log: Change = field(default=lambda rows: rows)
    factor: dict[int, float] = field(default_factory=dict)
    warns: frozenset[str] = frozenset()


def set_to(column: str, value: object) -> Change:
    """Return a change that gives every row this value."""
    return lambda rows: rows.with_columns(pl.lit(value).cast(rows.schema[column]).alias(column))


def only_clicks(rows: pl.DataFrame) -> pl.DataFrame:
    """Make every row a click."""
    return rows.with_columns(pl.lit(c.VIEW).alias(c.EVENT_TYPE), pl.lit(1, pl.Int8).alias(c.CLICK))


def no_clicks(rows: pl.DataFrame) -> pl.DataFrame:
    """Make every row an impression."""
    return rows.with_columns(
        pl.lit(c.IMPRESSION).alias(c.EVENT_TYPE), pl.lit(0, pl.Int8).alias(c.CLICK)
    )


def at_midnight(rows: pl.DataFrame) -> pl.DataFrame:
    """Give every row the first second of its day, as a log of dates has it."""
    return rows.with_columns(pl.col(c.TIMESTAMP) // 86_400 * 86_400)


def purchases(rows: pl.DataFrame) -> pl.DataFrame:
    """Let half of the clicks be followed by a purchase in the same second."""
    bought = rows.filter(pl.col(c.CLICK) == 1).gather_every(2)
    return pl.concat(
        [
            rows,
            bought.with_columns(pl.col(c.EVENT_ID) + "-p", pl.lit("Purchase").alias(c.EVENT_TYPE)),
        ]
    )


SHOPS = {
    "usual": Shop(),
    "no devices": Shop(rows=3_000, log=set_to(c.DEVICE_TYPE, c.MISSING)),
    "one device": Shop(rows=3_000, log=set_to(c.DEVICE_TYPE, "mobile")),
    "forty clicks a day": Shop(rows=40, log=only_clicks),
    "one row a day": Shop(rows=1),
    "one item": Shop(items=1, categories=1),
    "one user": Shop(users=1),
    "one category": Shop(categories=1),
    "clicks only": Shop(log=only_clicks),
    "impressions only": Shop(log=no_clicks),
    "dates without a time": Shop(log=at_midnight),
    "baskets": Shop(log=purchases),
    "a sale": Shop(factor={8: 12.0}, warns=frozenset({"volume"})),
    "an outage": Shop(rows=1_000, factor={8: 0.01}, warns=frozenset({"volume"})),
}


def write_landed(table: pl.DataFrame, schema: dict[str, str], path: Path) -> None:
    """Write a table in the form of its contract."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [pl.col(name).cast(getattr(pl, kind)) for name, kind in schema.items()]
    table.select(columns).write_parquet(path)


def land(shop: Shop, landing: Path) -> None:
    """Write a shop without pictures, prices, ages or texts, as an ingest of a bare log does."""
    random = np.random.default_rng(5)
    items = pl.DataFrame({c.ITEM_ID: [f"i{n}" for n in range(shop.items)]}).with_columns(
        *(pl.lit("").alias(name) for name in ("uuid", "name", "description", "image")),
        (pl.lit("c") + (pl.int_range(pl.len()) % shop.categories).cast(pl.String)).alias(
            c.CATEGORY_L1
        ),
        pl.lit(c.UNKNOWN_CATEGORY).alias(c.CATEGORY_L2),
        pl.lit(1.0).alias(c.PRICE),
        pl.lit("Any").alias(c.ITEM_GENDER),
        pl.lit(False).alias("promoted"),
    )
    write_landed(items, c.RAW_ITEMS, landing / zone.ITEMS_FILE)
    users = pl.DataFrame({c.USER_ID: [f"u{n}" for n in range(shop.users)]}).with_columns(
        pl.lit(None).alias(c.AGE), pl.lit(c.MISSING).alias(c.GENDER)
    )
    write_landed(users, c.RAW_USERS, landing / zone.USERS_FILE)
    for number, day in enumerate(DAYS):
        rows = max(1, int(shop.rows * shop.factor.get(number, 1)))
        clicked = random.random(rows) < 0.3
        log = pl.DataFrame(
            {
                c.EVENT_ID: [f"{day}-{n}" for n in range(rows)],
                c.USER_ID: [f"u{n}" for n in random.integers(0, shop.users, rows)],
                c.ITEM_ID: [f"i{n}" for n in random.integers(0, shop.items, rows)],
                c.TIMESTAMP: partitions.day_bounds(day)[0] + random.integers(0, 86_400, rows),
                c.DEVICE_TYPE: np.asarray(c.DEVICES)[random.integers(0, 3, rows)],
                c.EVENT_TYPE: np.where(clicked, c.VIEW, c.IMPRESSION),
                c.CLICK: clicked,
            }
        )
        path = landing / zone.INTERACTIONS_FOLDER / day / "log.parquet"
        write_landed(
            shop.log(log.with_columns(pl.col(c.CLICK).cast(pl.Int8))), c.RAW_INTERACTIONS, path
        )


@pytest.mark.parametrize("name", SHOPS)
def test_an_honest_shop_is_ingested(tmp_path: Path, name: str) -> None:
    shop, home = SHOPS[name], Settings(home=tmp_path, start_day=START)
    land(shop, Path(home.landing))

    class HomePlatform(Platform):
        @property
        def settings(self) -> Settings:
            return home

    def run(*assets: dg.AssetsDefinition, **tags: str) -> list[dg.AssetCheckEvaluation]:
        with dg.DagsterInstance.ephemeral() as instance:
            done = dg.materialize(
                list(assets), resources={"platform": HomePlatform()}, instance=instance, tags=tags
            )
            assert done.success
            return list(done.get_asset_check_evaluations())

    found = run(catalogue.users, catalogue.items)
    found += run(
        interactions.interactions,
        daily.interaction_features,
        daily.masked_train,
        **{ASSET_PARTITION_RANGE_START_TAG: DAYS[0], ASSET_PARTITION_RANGE_END_TAG: DAYS[-1]},
    )
    failed = {one.check_name for one in found if not one.passed}
    assert failed <= shop.warns and shop.warns <= failed
    assert ArtifactStore(home.artifacts).partitions("features/masked_train") == DAYS
