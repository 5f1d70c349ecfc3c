"""Shops with an uneven calendar: closed Sundays and a sale; evenings in another time zone."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import polars as pl

from recsys_assets.bench.shops.behaviour import (
    EVENING,
    Behaviour,
    chosen,
    code,
    draw_log,
    with_shown,
)
from recsys_assets.bench.shops.shop import Shop, Written, of_draw

OPENING = date(2025, 1, 6)  # a Monday
DAYS = 28
SALE = (date(2025, 1, 23), date(2025, 1, 24), date(2025, 1, 25))
NO_POWER = date(2025, 1, 15)  # a Wednesday without a row
USUAL, DURING_SALE = 250, 1_500  # clicks
SUNDAY = 7

NEW_YORK = "America/New_York"
#: Daylight saving begins there on 2025-03-09.
ZONE_FIRST, ZONE_DAYS = date(2025, 2, 24), 21


def volume(day: date) -> int:
    """Return the clicks of a day of the shop with closed Sundays.

    >>> volume(date(2025, 1, 12)), volume(SALE[0]) // volume(OPENING)
    (0, 6)
    """
    if day.isoweekday() == SUNDAY or day == NO_POWER:
        return 0
    return DURING_SALE if day in SALE else USUAL


def _sundays_and_sale(folder: Path, downloads: Path, draw: int) -> Written:
    """Write log.csv: ts (unix seconds), customer, sku, what, device."""
    volumes = [volume(OPENING + timedelta(days=n)) for n in range(DAYS)]
    truth = Behaviour(users=900, items=250, session=4.0)
    drawn = draw_log(truth, OPENING, volumes, seed=of_draw(21, draw))
    rows = with_shown(drawn, truth.items, shown=2, seed=of_draw(22, draw))
    clicked = chosen(rows.height, of_draw(23, draw), ("opened", "cart", "order"), (90, 6, 4))
    log = rows.select(
        "day",
        ts="time",
        customer=code("user", "c{}"),
        sku=code("item", "SKU-{}"),
        what=pl.when(pl.col("clicked") == 1).then(clicked).otherwise(pl.lit("shown")),
        device=chosen(rows.height, of_draw(24, draw), ("phone", "pc"), (2, 1)),
    )
    log.drop("day").write_csv(folder / "log.csv")
    return Written.of(log, "customer", "sku", pl.col("day"))


def _zones(folder: Path, downloads: Path, draw: int) -> Written:
    """Write visits.csv: user, item, time (unix milliseconds), device."""
    truth = Behaviour(users=700, items=250, hours=EVENING)
    drawn = draw_log(truth, ZONE_FIRST, [1_000] * ZONE_DAYS, seed=of_draw(25, draw), zone=NEW_YORK)
    log = drawn.select(
        "day",
        user=code("user", "u{}"),
        item=code("item", "i{}"),
        time=pl.col("time") * 1_000,
        device=chosen(drawn.height, of_draw(26, draw), ("mobile", "desktop", "tablet"), (6, 3, 1)),
    )
    log.drop("day").write_csv(folder / "visits.csv")
    return Written.of(log, "user", "item", pl.col("day"))


SHOPS = (
    Shop(
        "sundays_and_sale",
        "closed Sundays, an empty day, a sale of six times the rows",
        _sundays_and_sale,
        (
            "log.csv",
            *("--map", "timestamp=ts", "--map", "user_id=customer", "--map", "item_id=sku"),
            *("--map", "event_type=what", "--map", "device_type=device"),
            *("--event-type", "shown=Impression", "--event-type", "opened=View"),
            *("--event-type", "cart=AddToCart", "--event-type", "order=Purchase"),
            *("--device", "phone=mobile", "--device", "pc=desktop"),
        ),
    ),
    Shop(
        "zones",
        "New York, evenings, daylight saving begins",
        _zones,
        (
            "visits.csv",
            *("--map", "user_id=user", "--map", "item_id=item", "--map", "timestamp=time"),
            *("--map", "device_type=device"),
        ),
        zone=NEW_YORK,
    ),
)
