"""Shops in the forms of RetailRocket's, MIND's and H&M's public logs.

Only the forms are theirs; what the visitors do is drawn.
"""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import polars as pl

from recsys_assets.bench.shops.behaviour import Behaviour, chosen, code, draw_log, with_shown
from recsys_assets.bench.shops.shop import Shop, Written, of_draw
from recsys_assets.bench.shops.texts import catalogue
from recsys_assets.lib.own_data.mapping import DUPLICATE

TOPICS = (
    ("news", ("newsworld", "newspolitics", "newscrime")),
    ("sports", ("football_nfl", "basketball_nba", "golf")),
    ("lifestyle", ("home", "travel", "pets")),
    ("finance", ("markets", "savings")),
)
CLOTHES = (
    ("Garment Upper body", ("T-shirt", "Sweater", "Blouse", "Hoodie")),
    ("Garment Lower body", ("Trousers", "Shorts", "Skirt")),
    ("Shoes", ("Sneakers", "Boots")),
    ("Accessories", ("Bag", "Hat/beanie", "Belt")),
)
#: Articles of a MIND impression that were shown and not clicked.
SHOWN = 4
FIRST_ARTICLE = 108_775_015  # H&M's ids have a leading zero


def _retailrocket(folder: Path, downloads: Path, draw: int) -> Written:
    """Write events.csv: timestamp (ms), visitorid, event, itemid, transactionid."""
    truth = Behaviour(users=4_000, items=800, popularity=1.0, session=2.5, follow=0.4)
    drawn = draw_log(truth, date(2015, 5, 4), [1_500] * 16, seed=of_draw(31, draw))
    event = chosen(
        drawn.height, of_draw(32, draw), ("view", "addtocart", "transaction"), (96, 3, 1)
    )
    log = drawn.select(
        "day",
        timestamp=pl.col("time") * 1_000,
        visitorid=pl.col("user") + 150_000,
        event=event,
        itemid=pl.col("item") + 300,
        transactionid=pl.when(event == "transaction").then(pl.col("session")),
    )
    log.drop("day").write_csv(folder / "events.csv")
    return Written.of(log, "visitorid", "itemid", pl.col("day"))


def _mind(folder: Path, downloads: Path, draw: int) -> Written:
    """Write behaviors.tsv, one row per article of an impression, and news.tsv.

    MIND has one row per impression, with "N1-1 N2-0" in one column, which `recsys ingest` does not
    read.
    """
    truth = Behaviour(users=1_200, items=300, new_share=0.5, freshness=2.0, follow=0.0, session=1.5)
    drawn = draw_log(truth, date(2019, 11, 4), [700] * 14, seed=of_draw(33, draw))
    rows = with_shown(drawn, truth.items, SHOWN, seed=of_draw(34, draw))
    log = rows.select(
        "day",
        impression="session",
        user=code("user", "U{}"),
        time=pl.from_epoch("time").dt.strftime("%Y-%m-%d %H:%M:%S"),
        news=code("item", "N{}"),
        clicked="clicked",
    )
    news = catalogue(truth.items, of_draw(35, draw), TOPICS).select(
        news=code("item", "N{}"),
        category="department",
        subcategory="kind",
        title="name",
        abstract="text",
    )
    log.drop("day").write_csv(folder / "behaviors.tsv", separator="\t")
    news.write_csv(folder / "news.tsv", separator="\t")
    return Written.of(log, "user", "news", pl.col("day"), news["news"])


def _hm(folder: Path, downloads: Path, draw: int) -> Written:
    """Write transactions_train.csv (a row per piece, days without a time) and articles.csv."""
    truth = Behaviour(users=1_500, items=280, repeat=0.1, session=2.5, new_share=0.2, freshness=1.0)
    drawn = draw_log(truth, date(2020, 8, 31), [900] * 20, seed=of_draw(36, draw))
    article = pl.format("0{}", pl.col("item") + FIRST_ARTICLE)
    articles = catalogue(truth.items, of_draw(37, draw), CLOTHES).select(
        article_id=article,
        prod_name="name",
        product_type_name="kind",
        product_group_name="department",
        detail_desc="text",
        price="price",
    )
    log = drawn.sort("day", "user", "item").select(
        t_dat="day",
        customer_id=pl.col("user").map_elements(_customer, pl.String),
        article_id=article,
        sales_channel_id=chosen(drawn.height, of_draw(39, draw), ("1", "2"), (1, 2)),
    )
    prices = articles.select("article_id", price=(pl.col("price") / 1_000).round(6))
    log = log.join(prices, on="article_id", maintain_order="left")
    log.write_csv(folder / "transactions_train.csv")
    articles.drop("price").write_csv(folder / "articles.csv")
    return Written.of(log, "customer_id", "article_id", pl.col("t_dat"), articles["article_id"])


def _customer(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


SHOPS = (
    Shop(
        "retailrocket",
        "RetailRocket's events.csv",
        _retailrocket,
        (
            "events.csv",
            *("--map", "user_id=visitorid", "--map", "item_id=itemid", "--map", "event_type=event"),
            *("--event-type", "transaction=Purchase"),
        ),
    ),
    Shop(
        "mind",
        "MIND's behaviors.tsv, a row per article, and news.tsv",
        _mind,
        (
            "behaviors.tsv",
            *("--map", "user_id=user", "--map", "item_id=news", "--map", "timestamp=time"),
            *("--map", "click=clicked", "--catalogue", "news.tsv", "--item-map", "item_id=news"),
            *("--item-map", "name=title", "--item-map", "description=abstract"),
            *("--item-map", "category_l1=category", "--item-map", "category_l2=subcategory"),
        ),
    ),
    Shop(
        "hm",
        "H&M's transactions_train.csv and articles.csv: days only",
        _hm,
        (
            "transactions_train.csv",
            *("--map", "user_id=customer_id", "--map", "item_id=article_id"),
            *("--map", "timestamp=t_dat", "--catalogue", "articles.csv"),
            *("--item-map", "item_id=article_id", "--item-map", "name=prod_name"),
            *("--item-map", "description=detail_desc"),
            *("--item-map", "category_l1=product_group_name"),
            *("--item-map", "category_l2=product_type_name"),
        ),
        # two pieces of one article are two equal rows of a day
        rejected=frozenset({DUPLICATE}),
    ),
)
