"""The setting of event values: its form, and errors that name the wrong part."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from recsys_assets.event_values import DEFAULT, EventValue, EventValues
from recsys_assets.settings import Settings


def test_values_are_read_in_any_order_and_written_in_one() -> None:
    values = EventValues.parse(" Purchase = 10*price ,AddToCart=4")
    assert values.text == "View=1,AddToCart=4,Purchase=10*price"
    assert values.of == {
        "View": EventValue(1.0),
        "AddToCart": EventValue(4.0),
        "Purchase": EventValue(10.0, by_price=True),
    }
    assert values.by_price == ["Purchase"] and not values.plain
    assert EventValues.parse(values.text) == values


def test_a_view_may_be_worth_nothing_and_a_price_alone_is_a_value() -> None:
    values = EventValues.parse("View=0,Purchase=price")
    assert values.text == "View=0,Purchase=price" and [*values.of] == ["Purchase"]


@pytest.mark.parametrize("text", [DEFAULT, "View=7", "View=2,Purchase=0", "AddToCart=0"])
def test_one_value_for_every_click_is_the_default(text: str) -> None:
    assert EventValues.parse(text).text == DEFAULT and EventValues.parse(text).plain


@pytest.mark.parametrize("text", ["View=price", "View=0,AddToCart=1", "View=1,ViewCart=0.5"])
def test_values_that_differ_are_not_the_default(text: str) -> None:
    assert not EventValues.parse(text).plain


@pytest.mark.parametrize(
    ("text", "part", "remedy"),
    [
        ("", "''", "write Event=value pairs"),
        ("View", "'View'", "write Event=value pairs"),
        ("View=1,,Purchase=2", "''", "write Event=value pairs"),
        ("View=", "'View='", "write Event=value pairs"),
        ("Buy=10", "'Buy'", "use View, AddToCart"),
        ("view=1", "'view'", "use View, AddToCart"),
        ("Impression=1", "'Impression=1'", "leave it out"),
        ("Purchase=ten", "'Purchase=ten'", "a number of at least 0"),
        ("Purchase=10*cost", "'Purchase=10*cost'", "number*price"),
        ("Purchase=price*price", "'Purchase=price*price'", "a number of at least 0"),
        ("View=-1", "'View=-1'", "no event is negative feedback"),
        ("View=nan", "'View=nan'", "not finite"),
        ("View=1,View=2", "View twice", "name it once"),
        ("View=0", "'View=0'", "give one event a value above 0"),
    ],
)
def test_an_error_names_the_setting_the_part_and_the_remedy(
    text: str, part: str, remedy: str
) -> None:
    with pytest.raises(ValueError, match="RECSYS_EVENT_VALUES") as error:
        EventValues.parse(text)
    assert part in str(error.value) and remedy in str(error.value)


def test_the_setting_is_checked_and_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().event_values == DEFAULT
    monkeypatch.setenv("RECSYS_EVENT_VALUES", "Purchase=10,AddToCart=4")
    settings = Settings()
    assert settings.event_values == "View=1,AddToCart=4,Purchase=10"
    assert settings.environment()["RECSYS_EVENT_VALUES"] == settings.event_values
    monkeypatch.setenv("RECSYS_EVENT_VALUES", "Buy=10")
    with pytest.raises(ValidationError, match="'Buy' is no event"):
        Settings()
