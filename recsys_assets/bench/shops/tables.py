"""Shops with a table of products: groceries in baskets, and a shop without prices."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

from recsys_assets.bench.shops.behaviour import Behaviour, chosen, code, draw_log
from recsys_assets.bench.shops.shop import Shop, Written, of_draw
from recsys_assets.bench.shops.texts import catalogue

FOOD = (
    ("produce", ("apples", "bananas", "salad", "tomatoes")),
    ("dairy", ("milk", "yoghurt", "cheese")),
    ("pantry", ("pasta", "rice", "flour", "coffee")),
    ("household", ("soap", "paper towels")),
)
BOOKS = (
    ("fiction", ("novel", "short stories", "thriller")),
    ("non-fiction", ("biography", "guide", "cookbook")),
)


def _groceries(folder: Path, downloads: Path, draw: int) -> Written:
    """Write order_lines.csv (all lines of an order have one time) and products.csv."""
    truth = Behaviour(users=600, items=250, repeat=0.6, session=7.0, follow=0.3)
    drawn = draw_log(truth, date(2025, 2, 3), [1_200] * 20, seed=of_draw(41, draw))
    lines = drawn.with_columns(ordered=pl.col("time").min().over("session"))
    lines = lines.unique(["user", "ordered", "item"], maintain_order=True)
    log = lines.select(
        "day",
        order_id=pl.col("session") + 1,
        user_id="user",
        product_id="item",
        order_time=pl.from_epoch("ordered").dt.strftime("%Y-%m-%d %H:%M:%S"),
        quantity=chosen(lines.height, of_draw(42, draw), ("1", "2", "3"), (7, 2, 1)),
    ).sort("order_id", "product_id")
    products = catalogue(truth.items, of_draw(43, draw), FOOD).select(
        product_id="item", product_name="name", aisle="kind", department="department", price="price"
    )
    log.drop("day").write_csv(folder / "order_lines.csv")
    products.write_csv(folder / "products.csv")
    return Written.of(log, "user_id", "product_id", pl.col("day"), products["product_id"])


def _no_prices(folder: Path, downloads: Path, draw: int) -> Written:
    """Write log.parquet and titles.csv, which has no price."""
    truth = Behaviour(users=700, items=200, popularity=1.1)
    drawn = draw_log(truth, date(2025, 6, 2), [1_200] * 14, seed=of_draw(44, draw))
    log = drawn.select(
        "day",
        reader=code("user", "r{}"),
        isbn=code("item", "978-{}"),
        at=pl.from_epoch("time"),
        action=chosen(
            drawn.height, of_draw(45, draw), ("View", "AddToCart", "Purchase"), (90, 7, 3)
        ),
        agent=chosen(drawn.height, of_draw(46, draw), ("Mobile", "Desktop"), (1, 1)),
    )
    titles = catalogue(truth.items, of_draw(47, draw), BOOKS).select(
        isbn=code("item", "978-{}"), title="name", genre="department", kind="kind"
    )
    log.drop("day").write_parquet(folder / "log.parquet")
    titles.write_csv(folder / "titles.csv")
    return Written.of(log, "reader", "isbn", pl.col("day"), titles["isbn"])


SHOPS = (
    Shop(
        "groceries",
        "order lines of baskets, many repeats, and products",
        _groceries,
        (
            "order_lines.csv",
            *("--map", "item_id=product_id", "--map", "timestamp=order_time"),
            *("--catalogue", "products.csv", "--item-map", "item_id=product_id"),
            *("--item-map", "name=product_name", "--item-map", "category_l1=department"),
            *("--item-map", "category_l2=aisle"),
        ),
    ),
    Shop(
        "no_prices",
        "Parquet log, catalogue without prices",
        _no_prices,
        (
            "log.parquet",
            *("--map", "user_id=reader", "--map", "item_id=isbn", "--map", "timestamp=at"),
            *("--map", "event_type=action", "--map", "device_type=agent"),
            *("--catalogue", "titles.csv", "--item-map", "item_id=isbn", "--item-map"),
            *("name=title", "--item-map", "category_l1=genre", "--item-map", "category_l2=kind"),
        ),
    ),
)
