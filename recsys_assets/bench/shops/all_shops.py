"""List every shop of the bench, in the order in which they run."""

from __future__ import annotations

from recsys_assets.bench.shops import (
    calendars,
    clicks,
    complete_journey,
    movielens,
    public_logs,
    tables,
)
from recsys_assets.bench.shops.shop import Shop

SHOPS: tuple[Shop, ...] = (
    *clicks.SHOPS,
    *public_logs.SHOPS,
    *tables.SHOPS,
    *calendars.SHOPS,
    *movielens.SHOPS,
    *complete_journey.SHOPS,
)
