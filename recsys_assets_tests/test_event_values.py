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
        ("View=-1", "'View=-1'", "only Dismiss is negative feedback"),
        ("Purchase=-2*price", "'Purchase=-2*price'", "Purchase follows a click"),
        ("Dismiss=1", "'Dismiss=1'", "write Dismiss=-1, or leave it out"),
        ("Dismiss=price", "'Dismiss=price'", "write Dismiss=-1"),
        ("Dismiss=-1*price", "'Dismiss=-1*price'", "write Dismiss=-1"),
        ("Dismiss=-inf", "'Dismiss=-inf'", "write Dismiss=-1"),
        ("Dismiss=-1,Dismiss=0", "Dismiss twice", "name it once"),
        ("View=0,Dismiss=-1", "'View=0,Dismiss=-1'", "give one event a value above 0"),
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


def test_a_dismissal_is_worth_at_most_0_and_changes_no_click() -> None:
    values = EventValues.parse("Dismiss = -2.5,Purchase=10")
    assert values.text == "View=1,Purchase=10,Dismiss=-2.5" and values.dismissed == -2.5
    assert EventValues.parse(values.text) == values
    assert values.clicks == "View=1,Purchase=10" and "Dismiss" not in values.of
    alone = EventValues.parse("Dismiss=-1")
    assert alone.plain and alone.text == "View=1,Dismiss=-1"
    assert EventValues.parse("Dismiss=0").text == EventValues.parse("Dismiss=-0").text == DEFAULT


def test_the_setting_is_checked_and_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().event_values == DEFAULT
    monkeypatch.setenv("RECSYS_EVENT_VALUES", "Purchase=10,AddToCart=4")
    settings = Settings()
    assert settings.event_values == "View=1,AddToCart=4,Purchase=10"
    assert settings.environment()["RECSYS_EVENT_VALUES"] == settings.event_values
    monkeypatch.setenv("RECSYS_EVENT_VALUES", "Buy=10")
    with pytest.raises(ValidationError, match="'Buy' is no event"):
        Settings()
