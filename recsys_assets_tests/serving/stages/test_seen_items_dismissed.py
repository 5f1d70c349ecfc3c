"""Dismissed items in the filter stage, on a real Valkey: every rule hides them."""

from __future__ import annotations

from typing import Any

import pytest

from recsys_assets.columns import DISMISS
from recsys_assets.lib.feature_store import bloom
from recsys_assets.lib.features.seen import ACTS, DEFAULT_RULE, NEVER, SeenRule, nothing_seen
from recsys_assets.local_time import UTC
from recsys_assets.serving.stages.answer import Degraded, Fate
from recsys_assets.settings import VISITOR_DATABASE, Settings
from recsys_assets_tests.serving.stages.test_seen_items import ITEMS, NOW, ask, fates, see, stage_on
from recsys_assets_tests.support import tiny_store

pytestmark = pytest.mark.services
DAY = 86_400
EVERYTHING = range(3, 3 + len(ITEMS))


@pytest.fixture
def settings(valkey: Any, tmp_path: Any) -> Settings:
    return tiny_store.settings_on(tmp_path, valkey)


def dismiss(valkey: Any, indices: list[int], at: float = NOW) -> None:
    client = valkey.client(VISITOR_DATABASE)
    for index in indices:
        for bit in bloom.positions(ITEMS[index - 3], DISMISS):
            client.setbit(bloom.seen_key("u", bloom.day_of(at, UTC)), int(bit), 1)


@pytest.mark.parametrize(
    "rule", [DEFAULT_RULE, NEVER, SeenRule(("Purchase",), 3), SeenRule(ACTS, 12)]
)
def test_a_dismissed_item_goes_whatever_the_rule(
    settings: Settings, valkey: Any, rule: Any
) -> None:
    see(valkey, "u", [6])
    dismiss(valkey, [3], NOW - 6 * DAY)
    stage = stage_on(settings, rule=rule)
    found = fates(stage, [9, 3, 8, 7, 6, 5])
    assert found[3] == Fate.DISMISSED
    assert found[6] == (Fate.SEEN if "View" in rule.events else Fate.KEPT)
    assert found[9] == Fate.KEPT and not Fate.DISMISSED.kept
    assert 3 not in ask(stage, [9, 3, 8, 7, 6, 5])[0]


@pytest.mark.parametrize(("rule", "days"), [(NEVER, 7), (DEFAULT_RULE, 7), (nothing_seen(9), 9)])
def test_it_comes_back_after_the_days(
    settings: Settings, valkey: Any, rule: SeenRule, days: int
) -> None:
    dismiss(valkey, [3], NOW - (days - 1) * DAY)
    dismiss(valkey, [4], NOW - days * DAY)
    found = fates(stage_on(settings, rule=rule), [3, 4, 5, 6, 7])
    assert (found[3], found[4]) == (Fate.DISMISSED, Fate.KEPT)


def test_who_has_seen_everything_is_not_shown_what_they_dismissed(
    settings: Settings, valkey: Any
) -> None:
    see(valkey, "u", [*EVERYTHING])
    dismiss(valkey, [3, 22])  # a candidate, and the most popular item
    kept, _ = ask(stage_on(settings), [9, 3, 8])
    assert kept[:2] == [9, 8] and len(kept) == 5 and not {3, 22} & set(kept)


def test_who_has_dismissed_everything_is_shown_it_again(settings: Settings, valkey: Any) -> None:
    """A filter far beyond its capacity looks like this, and an answer is never empty."""
    dismiss(valkey, [*EVERYTHING])
    assert ask(stage_on(settings), [9, 3, 8]) == ([9, 3, 8, 22, 21], 0)


def test_a_list_is_not_filled_up_with_dismissed_items(settings: Settings, valkey: Any) -> None:
    dismiss(valkey, [22, 20])  # the first and the third most popular item
    assert ask(stage_on(settings), [9, 8])[0] == [9, 8, 21, 19, 3]


def test_a_store_that_fails_is_named_also_where_nothing_counts_as_seen(
    settings: Settings, valkey: Any
) -> None:
    valkey.client(VISITOR_DATABASE).lpush(bloom.seen_key("u", bloom.day_of(NOW, UTC)), "no filter")
    assert ask(stage_on(settings, rule=NEVER), [9, 8, 7, 6, 5])[1] == int(Degraded.SEEN_FILTER)
