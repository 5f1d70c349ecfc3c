"""What was shown and not clicked, against counting by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.bench.ranker.shown import DAYS, ShownItems
from recsys_assets_tests.support import small_clicks
from recsys_assets_tests.support.small_labels import labels

DAY, ITEMS = 86_400, 4


def events(rows: int, impressions: bool = True) -> pl.DataFrame:
    rng = np.random.default_rng(4)
    kinds = ["Impression", "View", "Purchase"] if impressions else ["View"]
    return pl.DataFrame(
        {
            c.USER_ID: rng.choice(["a", "b", c.MISSING], rows),
            c.ITEM_ID: rng.choice(["i0", "i1", "i2", "i3", "gone"], rows),
            c.TIMESTAMP: np.sort(rng.integers(20_000 * DAY, 20_009 * DAY, rows)),
            c.EVENT_TYPE: rng.choice(kinds, rows),
        }
    )


def test_columns_are_those_of_the_moment() -> None:
    log, names = events(400), [f"i{n}" for n in range(ITEMS)]
    asked = small_clicks.queries(
        [("a", "i0", 20_006), ("b", "i1", 20_008), ("c", "i1", 20_002)], names
    )
    found = labels(clicks=3, weights=(0.0, 0.0, 0.0), items=ITEMS)
    columns = ShownItems.of(log, names, "UTC").columns(asked, found)
    assert columns is not None
    exposed = log.filter(pl.col(c.EVENT_TYPE) != "Purchase", pl.col(c.ITEM_ID) != "gone")
    means = []
    for query, (user, at) in enumerate(asked.frame.select(c.USER_ID, c.TIMESTAMP).iter_rows()):
        for row, item in enumerate(names):
            own = exposed.filter(
                pl.col(c.USER_ID) == user,
                pl.col(c.ITEM_ID) == item,
                pl.col(c.EVENT_TYPE) == "Impression",
                pl.col(c.TIMESTAMP) < at,
            )
            of = columns[query * ITEMS + row]
            np.testing.assert_allclose(np.expm1(of[0]), len(own), rtol=1e-5)
            hours = (at - own[c.TIMESTAMP].max()) / 3_600 if len(own) else 720
            np.testing.assert_allclose(np.expm1(of[1]), hours, rtol=1e-4)
            start = at // DAY * DAY
            lately = exposed.filter(
                pl.col(c.ITEM_ID) == item,
                pl.col(c.TIMESTAMP) < start,
                pl.col(c.TIMESTAMP) >= start - DAYS * DAY,
            )
            np.testing.assert_allclose(np.expm1(of[2]), len(lately), rtol=1e-4)
            clicks = lately.filter(pl.col(c.EVENT_TYPE) == "View")
            means.append((len(clicks), len(lately), of[3]))
    clicked, shown, share = map(np.array, zip(*means, strict=True))
    mean = clicked.sum() / shown.sum()
    np.testing.assert_allclose(np.exp(share), (clicked + 20 * mean) / (shown + 20), rtol=1e-4)


def test_a_log_of_clicks_has_none() -> None:
    log, names = events(50, impressions=False), [f"i{n}" for n in range(ITEMS)]
    asked = small_clicks.queries([("a", "i0", 20_006)], names)
    found = replace(labels(clicks=1, weights=(0.0, 0.0, 0.0), items=ITEMS))
    assert ShownItems.of(log, names, "UTC").columns(asked, found) is None
