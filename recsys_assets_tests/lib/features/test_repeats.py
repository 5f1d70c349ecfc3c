"""The seen rule of shops of several kinds, and its figures against a plain count."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.columns import PURCHASE, VIEW
from recsys_assets.lib.features.repeats import (
    LEAST_VISITORS,
    choose_rule,
    measure_repeats,
    write_seen_rule,
)
from recsys_assets.lib.features.seen import DEFAULT_RULE, NEVER, SeenRule, read_rule
from recsys_assets.local_time import UTC
from recsys_assets_tests.support import repeat_shops


def chosen(log: pl.DataFrame) -> tuple[SeenRule, str]:
    return choose_rule(measure_repeats(log, zone=UTC), None, "auto")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("shop", "event", "rule"),
    [
        (repeat_shops.groceries, PURCHASE, NEVER),
        (repeat_shops.groceries, VIEW, NEVER),
        (repeat_shops.fashion, PURCHASE, DEFAULT_RULE),
        (repeat_shops.fashion, VIEW, DEFAULT_RULE),
    ],
)
def test_bought_items_stay_in_only_where_the_same_is_bought_again(shop, event, rule, seed):
    found, reason = chosen(shop(event=event, seed=seed))
    assert found == rule, reason
    assert ("purchases" if event == PURCHASE else "clicks") in reason


def test_a_longer_log_says_the_same():
    assert chosen(repeat_shops.groceries(150, 40))[0] == NEVER
    assert chosen(repeat_shops.fashion(600, 40))[0] == DEFAULT_RULE


def test_repeats_by_chance_are_none():
    """In a shop of eight items, popularity alone gives as many repeats."""
    log = repeat_shops.hits()
    found = measure_repeats(log, zone=UTC)
    assert found["rate"] > 0.2 and found["expected"] == pytest.approx(found["rate"], rel=0.1)
    assert chosen(log)[0] == DEFAULT_RULE


def test_a_small_shop_of_few_items_hides_what_was_clicked():
    """Its visitors click the same again more often than by chance, and often by chance."""
    log = repeat_shops.fashion(400, 9, event=VIEW, items=40)
    found = measure_repeats(log, zone=UTC)
    assert found["rate"] > 0.2 and 0 < found["excess_low"] < 0.2
    assert chosen(log)[0] == DEFAULT_RULE


def test_too_few_visitors_decide_nothing():
    rule, reason = chosen(repeat_shops.groceries(LEAST_VISITORS - 5))
    assert rule == DEFAULT_RULE and reason.startswith("too few to judge")
    nothing = repeat_shops.groceries(1).clear()
    assert measure_repeats(nothing, zone=UTC)["rate"] is None
    assert chosen(nothing)[0] == DEFAULT_RULE


def test_figures_equal_a_plain_count():
    log = repeat_shops.groceries(40, 12, seed=5)
    bought = log.filter(pl.col("event_type") == PURCHASE)
    acts = {
        (user, item, (at - repeat_shops.START) // 86_400)
        for user, item, at in bought.select("user_id", "item_id", "timestamp").rows()
    }
    first, last = min(day for *_, day in acts), max(day for *_, day in acts)
    begin = min(first + 7, (first + last + 1) // 2)
    clicks = Counter(item for _, item, _ in acts)
    counted = [act for act in acts if act[2] >= begin]
    repeats, expected = 0, 0.0
    for user, item, day in counted:
        had = {i for u, i, d in acts if u == user and day - 7 <= d < day}
        repeats += item in had
        expected += sum(clicks[i] for i in had) / len(acts)
    found = measure_repeats(log, zone=UTC)
    assert found["acts"] == len(counted) and found["counted"] == PURCHASE
    assert found["visitors"] == len({user for user, *_ in counted})
    assert found["rate"] == pytest.approx(repeats / len(counted))
    assert found["expected"] == pytest.approx(expected / len(counted))
    assert found["rate_low"] < found["rate"] < found["rate_high"]


def test_days_are_those_of_the_shop():
    """Two views around midnight in Berlin are two days there, and one day in UTC."""
    at = repeat_shops.START + np.array([0, 4 * 86_400, 4 * 86_400 + 3_600]) - 2 * 3_600 - 1_800
    log = pl.DataFrame(
        {
            "user_id": ["a"] * 3,
            "item_id": ["x", "y", "y"],
            "timestamp": at,
            "event_type": [VIEW] * 3,
        }
    )
    assert measure_repeats(log, zone="Europe/Berlin")["rate"] == 0.5
    assert measure_repeats(log, zone=UTC)["rate"] == 0


def test_settings_come_before_the_log():
    repeats = measure_repeats(repeat_shops.groceries(), zone=UTC)
    assert choose_rule(repeats, ("Purchase", "View"), "auto")[0] == SeenRule(
        ("View", "Purchase"), 7
    )
    assert choose_rule(repeats, ("Purchase",), 3)[0] == SeenRule(("Purchase",), 3)
    assert choose_rule(repeats, None, 3)[0] == NEVER
    assert choose_rule(repeats, ("Purchase",), 0)[0] == NEVER
    fashion = measure_repeats(repeat_shops.fashion(), zone=UTC)
    assert choose_rule(fashion, None, 3)[0] == SeenRule(DEFAULT_RULE.events, 3)


def test_the_artifact_holds_rule_and_reason(tmp_path):
    store = ArtifactStore(str(tmp_path / "artifacts"))
    with store.stage("raw/interactions", "2026-06-01") as staged:
        repeat_shops.groceries().write_parquet(staged.path / "interactions.parquet")
        log = staged.publish()
    found = write_seen_rule([log], tmp_path, seen_events=None, seen_days="auto", time_zone=UTC)
    assert read_rule(tmp_path / "seen.json") == NEVER
    assert (
        found["rule"] == "nothing is ever seen" and "people have the same again" in found["reason"]
    )
    assert found["rate"] > 0.1
