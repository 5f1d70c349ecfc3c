"""Test how a day's answers become impressions, and which events belong to them."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.landing.served_answers import SCHEMA
from recsys_assets.lib.quality.served_day import ServedDay
from recsys_assets.lib.raw.served import WINDOW, Rule, Served, served_impressions

NOW = 1_790_000_000


def answered(
    answer_id: str, user: str, items: str, at: int = NOW, **changed: Any
) -> dict[str, Any]:
    """Return an answer that showed items of one letter each."""
    return {
        "answer_id": answer_id,
        "request_id": f"request-{answer_id}",
        "user_id": user,
        "at": at,
        "device_type": "mobile",
        "top_k": 10,
        "item_ids": list(items),
        "scores": [1 / n for n in range(1, len(items) + 1)],
        "release": 3,
        "reasons": [],
        "arrived": at + 1,
        **changed,
    }


def event(
    event_id: str, user: str, item: str, at: int = NOW + 5, kind: str = "View", request: str = ""
) -> tuple[Any, ...]:
    return (
        event_id,
        user,
        item,
        at,
        "mobile",
        kind,
        int(kind != "Impression"),
        at,
        request or None,
    )


def served(
    answers: list[dict[str, Any]],
    events: list[tuple[Any, ...]],
    rule: Rule = "own",
    items: list[str] | None = None,
) -> Served:
    schema = {name: getattr(pl, kind) for name, kind in c.ARRIVED_INTERACTIONS.items()}
    rows = pl.DataFrame(events, schema={**schema, "request_id": pl.String}, orient="row")
    requests = rows.select("event_id", "request_id").drop_nulls()
    day = ServedDay(pl.DataFrame(answers, schema=SCHEMA), {}, {})
    return served_impressions(day, rows.select(*schema), requests, items, rule)


def shown_of(found: Served) -> list[tuple[Any, ...]]:
    """Return (answer, position, item, clicked) of what was clicked."""
    rows = found.shown.filter("clicked").sort("answer_id", "position")
    return rows.select("answer_id", "position", "item_id", "event_id").rows()


def made_of(found: Served) -> list[tuple[str, str]]:
    return found.impressions.select("user_id", "item_id").rows()


def test_a_dismissed_item_was_shown_and_not_clicked() -> None:
    answers = [answered("a1", "u", "abc")]
    dismissed = ("d", "u", "b", NOW + 5, "mobile", "Dismiss", 0, NOW + 5, "request-a1")
    found, plain = served(answers, [dismissed]), served(answers, [])
    assert made_of(found) == made_of(plain) == [("u", "a"), ("u", "b"), ("u", "c")]
    assert found.shown.equals(plain.shown) and shown_of(found) == []


def test_what_was_shown_and_not_clicked_is_an_impression() -> None:
    found = served([answered("a1", "u", "abc")], [event("e", "u", "b")])
    assert found.impressions.schema == {
        name: getattr(pl, kind) for name, kind in c.ARRIVED_INTERACTIONS.items()
    }
    assert found.impressions.rows(named=True) == [
        {
            "event_id": f"served-a1-{position:03d}",
            "user_id": "u",
            "item_id": item,
            "timestamp": NOW,
            "device_type": "mobile",
            "event_type": "Impression",
            "click": 0,
            "arrived": NOW + 1,
        }
        for position, item in ((1, "a"), (3, "c"))
    ]
    assert found.shown["position"].to_list() == [1, 2, 3]
    assert found.shown["score"].to_list() == [1, 1 / 2, 1 / 3]
    assert found.shown["event_id"].to_list() == ["served-a1-001", "e", "served-a1-003"]
    assert found.figures == {
        "answers": 1,
        "with_features": 0,
        "shown": 3,
        "impressions": 2,
        "own_impressions": 0,
        "clicks_joined": 1,
        "clicks_joined_by_request": 0,
        "share_joined": 1.0,
    }


def test_logged_features_lie_beside_what_was_shown() -> None:
    answers = [answered("a1", "u", "ab", features='{"at": 1}'), answered("a2", "u", "ab")]
    found = served(answers, [])
    assert found.features.rows() == [("a1", '{"at": 1}')]
    assert "features" not in found.shown.columns
    assert found.figures["with_features"] == 1


def test_a_drawn_item_keeps_its_propensity() -> None:
    answers = [
        answered("a1", "u", "ab", propensities=[0.4, 0.0]),
        answered("a2", "u", "ab"),
        answered("a3", "u", "", propensities=[]),
    ]
    assert served(answers, []).shown["propensity"].to_list() == [0.4, None, None, None]


def test_without_a_request_id_the_latest_list_in_the_window_counts() -> None:
    answers = [
        answered("a1", "u", "ab"),
        answered("a2", "u", "ba", NOW + 60),
        answered("a3", "v", "a", NOW + 61),
        answered("a4", "u", "a", NOW + 120),
    ]
    found = served(
        answers,
        [
            event("e1", "u", "a", NOW + 100),
            event("e2", "u", "b", NOW + 60 + WINDOW),
            event("e3", "v", "a", NOW + 62 + WINDOW),  # out of the window
            event("e4", "u", "c", NOW + 100),  # not shown
            event("e5", "-1", "a", NOW + 100),
        ],
    )
    assert shown_of(found) == [("a2", 1, "b", "e2"), ("a2", 2, "a", "e1")]
    assert made_of(found) == [("u", "a"), ("u", "b"), ("v", "a"), ("u", "a")]
    assert found.figures["share_joined"] == 2 / 5


def test_a_request_id_names_the_list() -> None:
    answers = [answered("a1", "u", "ab"), answered("a2", "u", "ab", NOW + 60)]
    found = served(
        answers,
        [
            event("e1", "u", "a", NOW + 100, request="request-a1"),
            event("e2", "w", "b", NOW + 9 * WINDOW, request="request-a2"),  # signed in since
            event("e3", "u", "b", NOW + 100, request="another"),  # an answer that is not logged
        ],
    )
    assert shown_of(found) == [("a1", 1, "a", "e1"), ("a2", 2, "b", "e2")]
    assert found.figures["clicks_joined_by_request"] == 2
    # a batch has one request id for several visitors, and a caller may use one twice
    same = {"request_id": "r"}
    found = served(
        [
            answered("a1", "u", "ab", **same),
            answered("a2", "v", "ab", **same),
            answered("a3", "v", "ab", NOW + 9, **same),
        ],
        [event("e1", "u", "a", request="r"), event("e2", "v", "b", request="r")],
    )
    assert shown_of(found) == [("a1", 1, "a", "e1"), ("a3", 2, "b", "e2")]


def test_an_exposure_counts_once() -> None:
    """Several events on a shown item: its View is its exposure. Without one it has none."""
    found = served(
        [answered("a1", "u", "abc")],
        [
            event("e1", "u", "a", NOW + 4, "AddToCart"),
            event("e2", "u", "a", NOW + 5),
            event("e3", "u", "a", NOW + 6),
            event("e4", "u", "b", NOW + 7, "Purchase"),
        ],
    )
    assert shown_of(found) == [("a1", 1, "a", "e2"), ("a1", 2, "b", "e4")]
    assert made_of(found) == [("u", "c")]
    assert found.figures["clicks_joined"] == 2


@pytest.mark.parametrize(
    ("rule", "made"), [("own", []), ("none", []), ("both", [("u", "b"), ("v", "a")])]
)
def test_no_exposure_is_doubled_where_the_shop_logs_its_own(
    rule: Rule, made: list[tuple[str, str]]
) -> None:
    answers = [answered("a1", "u", "ab"), answered("a2", "v", "a")]
    own = [
        event("e1", "u", "a", NOW + 2, "Impression"),
        event("e2", "v", "a", NOW - 1, "Impression"),  # of an earlier page
    ]
    found = served(answers, own, rule)
    assert made_of(found) == made
    assert found.shown.height == 3 and found.figures["own_impressions"] == 2
    if rule != "none":
        assert len(made_of(served(answers, [], rule))) == 3
    assert made_of(served(answers, [], "none")) == []


def test_unknown_visitors_and_items_make_no_impression() -> None:
    found = served(
        [answered("a1", "-1", "ab"), answered("a2", "u", "az"), answered("a3", "u", "")],
        [],
        items=["a", "b"],
    )
    assert made_of(found) == [("u", "a")]
    assert found.shown.height == 4 and found.figures["answers"] == 3
    assert found.figures["share_joined"] is None


def test_the_order_of_the_answers_changes_nothing() -> None:
    answers = [answered(f"a{n}", f"u{n % 3}", "abc"[n % 2 :], NOW + n // 4) for n in range(40)]
    events = [event(f"e{n}", f"u{n % 3}", "abc"[n % 3], NOW + n) for n in range(20)]
    one, other = served(answers, events), served(answers, events[::-1])
    assert one.impressions.equals(other.impressions) and one.shown.equals(other.shown)
