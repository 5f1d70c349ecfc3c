"""Test that the files have the forms of the public logs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest

from recsys_assets.bench.shops import calendars
from recsys_assets_tests.bench.shops.conftest import Shop, read

Write = Callable[[str], Shop]


def test_retailrocket(written: Write):
    log = pl.read_csv(written("retailrocket")[0] / "events.csv")
    assert log.columns == ["timestamp", "visitorid", "event", "itemid", "transactionid"]
    assert log["timestamp"].is_between(1_430_000_000_000, 1_440_000_000_000).all()
    assert set(log["event"]) == {"view", "addtocart", "transaction"}
    bought = log["event"] == "transaction"
    assert (log["transactionid"].is_not_null() == bought).all()


def test_mind(written: Write):
    folder = written("mind")[0]
    log, news = read(folder / "behaviors.tsv"), read(folder / "news.tsv")
    assert log.columns == ["impression", "user", "time", "news", "clicked"]
    assert news.columns == ["news", "category", "subcategory", "title", "abstract"]
    assert set(log["news"]) <= set(news["news"]) and log["news"].str.contains(r"^N\d+$").all()
    clicks = log.group_by("impression", "time").agg(pl.col("clicked").cast(pl.Int64).sum())
    assert (clicks["clicked"] >= 1).all()
    assert 0.15 < log["clicked"].cast(pl.Int64).mean() < 0.35


def test_hm(written: Write):
    folder = written("hm")[0]
    log, articles = read(folder / "transactions_train.csv"), read(folder / "articles.csv")
    assert log.columns[:3] == ["t_dat", "customer_id", "article_id"]
    assert log["t_dat"].str.contains(r"^\d{4}-\d{2}-\d{2}$").all()
    assert log["article_id"].str.contains(r"^0\d{9}$").all()
    assert log["customer_id"].str.contains(r"^[0-9a-f]{64}$").all()
    assert set(log["article_id"]) <= set(articles["article_id"]) and "price" not in articles.columns


def test_groceries_have_baskets_and_strong_repeats(written: Write):
    log = read(written("groceries")[0] / "order_lines.csv")
    orders = log.group_by("order_id").agg(
        pl.col("user_id", "order_time").n_unique(),
        lines=pl.len(),
        products=pl.n_unique("product_id"),
    )
    assert (orders["user_id"] == 1).all() and (orders["order_time"] == 1).all()
    assert orders["lines"].mean() > 4 and (orders["lines"] == orders["products"]).all()
    assert log.n_unique(["user_id", "product_id"]) < 0.6 * log.height


@pytest.mark.parametrize(
    ("name", "days", "rows"), [("tiny", 30, 40), ("week", 7, 1_500), ("two_days", 2, 2_500)]
)
def test_short_and_small_logs(written: Write, name: str, days: int, rows: int):
    log = read(written(name)[0] / "clicks.csv")
    counts = log["at"].str.slice(0, 10).value_counts()["count"]
    assert len(counts) == days and counts.is_between(0.95 * rows, rows).all()


def test_sundays_are_closed_and_the_sale_is_large(written: Write):
    log = read(written("sundays_and_sale")[0] / "log.csv")
    days = pl.from_epoch(log["ts"].cast(pl.Int64)).dt.date()
    counts = dict(days.value_counts().iter_rows())
    every = [calendars.OPENING + timedelta(days=n) for n in range(calendars.DAYS)]
    empty = {day for day in every if day not in counts}
    assert empty == {day for day in every if day.weekday() == 6} | {date(2025, 1, 15)}
    opened = dict(days.filter(log["what"] != "shown").value_counts().iter_rows())
    usual = [rows for day, rows in opened.items() if day not in calendars.SALE]
    for day in calendars.SALE:
        assert opened[day] == pytest.approx(6 * sum(usual) / len(usual), rel=0.01)


def test_latent_and_no_prices_have_types(written: Write):
    shown = read(written("latent")[0] / "shown.parquet")
    assert shown.schema == pl.Schema(
        {
            "user_id": pl.Int64,
            "item_id": pl.Int64,
            "timestamp": pl.Datetime("us"),
            "click": pl.Int64,
        }
    )
    assert set(shown["click"]) == {0, 1}
    assert "price" not in read(written("no_prices")[0] / "titles.csv").columns
