"""Shops that have a plain log of clicks: usual, tiny, very short, and with latent tastes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl

from recsys_assets.bench.shops.behaviour import Behaviour, code, draw_log, with_shown
from recsys_assets.bench.shops.shop import Shop, Writer, Written, of_draw

COLUMNS = ("--map", "user_id=visitor", "--map", "item_id=product", "--map", "timestamp=at")


def clicks_only(truth: Behaviour, first: date, volumes: Sequence[int], seed: int) -> Writer:
    """Return the writer of clicks.csv: visitor, product, at (ISO text). Each row is a click."""

    def write(folder: Path, downloads: Path, draw: int) -> Written:
        log = draw_log(truth, first, volumes, of_draw(seed, draw)).select(
            "day",
            visitor=code("user", "v{}"),
            product=code("item", "p{}"),
            at=pl.from_epoch("time").dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        log.drop("day").write_csv(folder / "clicks.csv")
        return Written.of(log, "visitor", "product", pl.col("day"))

    return write


def _latent(folder: Path, downloads: Path, draw: int) -> Written:
    """Write shown.parquet: a click and three items that were shown beside it."""
    truth = Behaviour(users=800, items=300, taste=2.5, popularity=0.3, follow=0.0, session=4.0)
    drawn = draw_log(truth, date(2025, 3, 3), [800] * 16, seed=of_draw(15, draw))
    log = with_shown(drawn, truth.items, shown=3, seed=of_draw(16, draw)).select(
        "day", user_id="user", item_id="item", timestamp=pl.from_epoch("time"), click="clicked"
    )
    log.drop("day").write_parquet(folder / "shown.parquet")
    return Written.of(log, "user_id", "item_id", pl.col("day"))


SHOPS = (
    Shop(
        "clicks_only",
        "CSV of clicks, no devices",
        clicks_only(Behaviour(users=1_500, items=500), date(2025, 3, 3), [2_000] * 16, seed=11),
        ("clicks.csv", *COLUMNS),
    ),
    Shop(
        "tiny",
        "40 clicks per day",
        clicks_only(Behaviour(users=150, items=100), date(2025, 4, 1), [40] * 30, seed=12),
        ("clicks.csv", *COLUMNS),
    ),
    Shop(
        "week",
        "seven days",
        clicks_only(Behaviour(users=800, items=300), date(2025, 5, 5), [1_500] * 7, seed=13),
        ("clicks.csv", *COLUMNS),
    ),
    Shop(
        "two_days",
        "two days",
        clicks_only(Behaviour(users=800, items=300), date(2025, 5, 5), [2_500] * 2, seed=14),
        ("clicks.csv", *COLUMNS),
    ),
    Shop("latent", "Parquet, click 0 or 1, latent tastes", _latent, ("shown.parquet",)),
)
