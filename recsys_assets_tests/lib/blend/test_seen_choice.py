"""The seen rule of shops of several kinds, chosen by held-out clicks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.columns import PURCHASE, VIEW
from recsys_assets.lib.blend.seen_choice import (
    LEAST_VISITORS,
    SeenFigures,
    forced_rule,
    write_seen_rule,
)
from recsys_assets.lib.features.seen import ACTS, DEFAULT_RULE, NEVER, SeenRule, read_rule
from recsys_assets.local_time import UTC
from recsys_assets_tests.support import repeat_shops

PURCHASES = SeenRule((PURCHASE,), DEFAULT_RULE.days)


def chosen(
    folder: Path, rows: list[repeat_shops.Row], **given: Any
) -> tuple[SeenRule, SeenFigures]:
    log = repeat_shops.publish(ArtifactStore(str(folder / "artifacts")), rows)
    settings: dict[str, Any] = {
        "seen_events": None,
        "seen_days": "auto",
        "time_zone": UTC,
        "look_back_days": 30,
        "seed": 7,
    }
    figures = write_seen_rule(log, folder, **{**settings, **given})
    return read_rule(folder / "seen.json"), figures


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("shop", "rule"),
    [
        (repeat_shops.groceries, NEVER),
        (repeat_shops.fashion, PURCHASES),
        (repeat_shops.novelty, DEFAULT_RULE),
    ],
)
def test_what_people_have_again_stays_in(shop, rule, seed, tmp_path):
    found, figures = chosen(tmp_path, shop(seed=seed))
    assert found == rule, figures["reason"]
    assert figures["rule"] == rule.text()


def test_the_figures_say_what_each_rule_is_worth(tmp_path):
    """Of the clicks in the groceries, more than a quarter are repeats; under a rule they are lost."""
    rows = repeat_shops.groceries()
    _, figures = chosen(tmp_path, rows)
    strict, purchases, nothing = figures["rules"]
    held_out = [row for row in rows if row[2] >= 7 * 86_400 and row[3] == VIEW]
    had = {
        (visitor, item, at)
        for visitor, item, at, _ in held_out
        if any(
            who == visitor
            and what == item
            and before < at
            and before >= 86_400 * (at // 86_400 - 6)
            for who, what, before, _ in rows
        )
    }
    assert figures["clicks"] == len(held_out)
    assert strict["hidden"] == pytest.approx(len(had) / len(held_out))
    assert strict["hidden"] > 0.25 and nothing["hidden"] == 0
    assert strict["difference"] is None and strict["against"] is None
    assert nothing["ndcg"] > 2 * strict["ndcg"]
    assert purchases["against"] == DEFAULT_RULE.text()
    # what nobody has again is found worse when own items are among the candidates
    assert nothing["new"] is not None and nothing["new"]["value"] < 0
    assert "RECSYS_SEEN_EVENTS=any" in figures["reason"]
    assert (tmp_path / "figures" / "rules_table.md").read_text().count("→") == 1


def test_few_visitors_decide_nothing(tmp_path):
    rule, figures = chosen(tmp_path, repeat_shops.groceries(LEAST_VISITORS - 1))
    assert rule == DEFAULT_RULE and "too few to judge" in figures["reason"]


def test_a_log_of_one_day_decides_nothing(tmp_path):
    rows = [row for row in repeat_shops.groceries() if row[2] < 86_400]
    rule, figures = chosen(tmp_path, rows)
    assert rule == DEFAULT_RULE and figures["clicks"] == 0


def test_a_log_without_purchases_has_two_rules(tmp_path):
    rows = [row for row in repeat_shops.groceries() if row[3] == VIEW]
    rule, figures = chosen(tmp_path, rows)
    assert rule == NEVER
    assert [one["rule"] for one in figures["rules"]] == [DEFAULT_RULE.text(), NEVER.text()]


def test_settings_come_before_the_log(tmp_path):
    assert forced_rule(None, "auto") is None and forced_rule(None, 3) is None
    forced = {
        (("Purchase", "View"), "auto"): SeenRule(("View", "Purchase"), 7),
        (("Purchase",), 3): SeenRule(("Purchase",), 3),
        (ACTS, "auto"): DEFAULT_RULE,
        ((), "auto"): NEVER,
        (("Purchase",), 0): NEVER,
        (None, 0): NEVER,
    }
    for (events, days), rule in forced.items():
        found = forced_rule(events, days)
        assert found is not None and found[0] == rule
    rule, figures = chosen(tmp_path, repeat_shops.groceries(), seen_events=ACTS)
    assert rule == DEFAULT_RULE and figures["reason"] == "RECSYS_SEEN_EVENTS is any"
