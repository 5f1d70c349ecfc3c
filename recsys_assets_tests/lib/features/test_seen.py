from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from recsys_assets.files import FileCorrupt
from recsys_assets.lib.features.seen import (
    DEFAULT_RULE,
    NEVER,
    SeenRule,
    nothing_seen,
    parse_rule,
    read_rule,
)
from recsys_assets.settings import Settings


def test_a_rule_is_read_as_it_was_written(tmp_path):
    for rule in (DEFAULT_RULE, NEVER, SeenRule(("AddToCart", "Purchase"), 30)):
        (tmp_path / "seen.json").write_text(json.dumps(rule.as_json()))
        assert read_rule(tmp_path / "seen.json") == rule
    assert parse_rule({"events": ["Purchase", "View"], "days": 1}).events == ("View", "Purchase")
    assert NEVER.never and SeenRule(("View",), 0).never and not DEFAULT_RULE.never


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"events": ["View"], "days": "7"},
        {"events": ["View"], "days": -1},
        {"events": "View", "days": 7},
        {"events": ["Impression"], "days": 7},
        {"events": ["Dismiss"], "days": 7},
        {"events": [["View"]], "days": 7},
    ],
)
def test_anything_else_is_no_rule(content, tmp_path):
    (tmp_path / "seen.json").write_text(json.dumps(content))
    with pytest.raises(FileCorrupt, match=r"seen.json: .*build the release again"):
        read_rule(tmp_path / "seen.json")


def test_a_dismissed_item_is_hidden_for_seven_days_or_as_long_as_a_seen_one():
    rules = (NEVER, SeenRule(("View",), 3), DEFAULT_RULE, SeenRule(("View",), 30))
    assert [rule.dismissed_days for rule in rules] == [7, 7, 7, 30]
    assert nothing_seen(0) == nothing_seen(7) == NEVER and nothing_seen(30).never
    assert nothing_seen(30).dismissed_days == 30


def test_the_settings_name_events_and_days(monkeypatch, tmp_path):
    plain = Settings(home=tmp_path)
    assert (plain.seen_event_types, plain.seen_days, plain.kept_seen_days) == (None, "auto", 7)
    monkeypatch.setenv("RECSYS_SEEN_EVENTS", " Purchase, View")
    monkeypatch.setenv("RECSYS_SEEN_DAYS", "30")
    given = Settings(home=tmp_path)
    assert (given.seen_event_types, given.seen_days) == (("View", "Purchase"), 30)
    assert given.kept_seen_days == 30
    for name, value in given.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == given
    assert Settings(seen_days=0).seen_days == 0 and Settings(seen_days=0).kept_seen_days == 7
    for wrong in (
        {"seen_events": "Dismiss"},
        {"seen_events": "Impression"},
        {"seen_events": "View,"},
        {"seen_days": -1},
    ):
        with pytest.raises(ValidationError):
            Settings(**wrong)
