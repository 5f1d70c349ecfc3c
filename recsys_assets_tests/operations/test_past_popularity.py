"""What the check of served lists writes for a moment is what the evaluation counts then."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets.lib.evaluation.streamed_clicks import StreamedClicks
from recsys_assets.lib.feature_store.popular_now import most_clicked, period_key
from recsys_assets.lib.sources.forward_decay import HALF_LIVES, PERIOD, period_of, period_start
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.union import LISTED
from recsys_assets.operations.past_popularity import PastPopularity
from recsys_assets.settings import VISITOR_DATABASE

pytestmark = pytest.mark.services

NEVER = "never clicked"
ITEMS = [*(f"i{n}" for n in range(300)), NEVER]


@pytest.mark.parametrize("half_life", HALF_LIVES)
def test_each_moment_has_the_list_of_the_evaluation(valkey: Any, half_life: int) -> None:
    """Across the start of a period, after visitors were set anew, and back in time."""
    rng, border = np.random.default_rng(half_life), period_start(40, half_life)
    reach = PERIOD * half_life * 3_600 // 20
    clicks = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, 50, 4_000)],
            "item_id": [ITEMS[n] for n in rng.zipf(1.3, 4_000) % 300],
            "timestamp": border + rng.integers(-reach, reach, 4_000),
        }
    )
    at = np.concatenate([np.sort(border + rng.integers(-reach // 2, reach, 12)), [border - 5]])
    expected = StreamedClicks.of(clicks, ITEMS).lists(at, half_life)
    client, source = valkey.client(VISITOR_DATABASE), PopularNow.of(half_life, ITEMS)
    past = PastPopularity(client, [half_life], clicks)
    for number, moment in enumerate(at.tolist()):
        if number == 5:
            client.flushdb()
            # as the clicks of the visitors who were set, which count as those of these days
            present = period_key(half_life, period_of(time.time(), half_life))
            client.zadd(present, {NEVER: 2.0**PERIOD, ITEMS[0]: 2.0**PERIOD})
            past.forget()
        past.set(moment)
        items, counts = most_clicked(client, half_life, time.time(), 1_000)
        found = source.listed(items, counts)[:LISTED]
        assert found.tolist() == expected[number][expected[number] >= 0].tolist()
    assert (expected[:, 20] >= 0).all()
