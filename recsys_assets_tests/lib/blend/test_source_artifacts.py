"""The half-life of the online counts: the default, unless another is surely better."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys_assets.lib.blend.source_artifacts import _best_half_life
from recsys_assets.lib.evaluation.streamed_clicks import StreamedClicks
from recsys_assets_tests.support.small_queries import queries

HOUR = 3_600


def shop(hours: float, visitors: int):
    """What a visitor clicks is what was clicked most within the last ``hours``."""
    rng, items = np.random.default_rng(2), 40
    at = np.sort(rng.integers(0, 20 * 24 * HOUR, 8_000))
    item = ((at / (hours * HOUR)).astype(int) * 7 + rng.integers(0, 2, len(at)) * 11) % items
    clicks = StreamedClicks(item, at, items)
    rows = rng.choice(np.flatnonzero(at > 10 * 24 * HOUR), visitors, replace=False)
    frame = pl.DataFrame({"timestamp": at[rows]})
    ids = [f"i{n}" for n in range(items)]
    return clicks, queries(item[rows].tolist(), items, frame=frame, item_ids=ids)


def test_three_hours_are_chosen_where_they_are_surely_better():
    found = _best_half_life(*shop(hours=4, visitors=300), seed=7)
    assert found.params == {"half_life": 3}
    default, short = found.trials
    assert default["half_life"] == 12 and short["half_life"] == 3
    assert found.value == short["value"] > default["value"]


def test_the_default_stays_where_few_clicks_say_otherwise():
    found = _best_half_life(*shop(hours=4, visitors=3), seed=7)
    assert found.params == {"half_life": 12} and found.value == found.trials[0]["value"]


def test_without_a_click_the_default_stays():
    clicks, _ = shop(hours=4, visitors=3)
    nothing = queries([], 40, frame=pl.DataFrame({"timestamp": []}, schema={"timestamp": pl.Int64}))
    assert _best_half_life(clicks, nothing, seed=7).params == {"half_life": 12}
