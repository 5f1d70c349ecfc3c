"""Define what events are worth: the setting ``event_values`` and its form.

A click and the events that follow it are worth a number of at least 0. A dismissal is worth one of
at most 0: it is no click, but an example that the ranker learns to place lower.

The settings read it, so it imports the names of the events alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from recsys_assets.columns import DISMISS, EVENT_TYPES, IMPRESSION, INTEREST_EVENTS, VIEW, EventType

SETTING = "RECSYS_EVENT_VALUES"
#: Value of a setting that is not given: each click counts once.
DEFAULT = "View=1"
#: Word of a value that is multiplied by the item's price.
BY_PRICE = "price"
_FORM = (
    "write Event=value pairs separated by commas, such as View=1,AddToCart=4,Purchase=10, where a "
    "value is a number of at least 0, price, or a number*price; Dismiss has a number of at most 0"
)


@dataclass(frozen=True)
class EventValue:
    """Holds the value of one event.

    Attributes:
        amount: number of at least 0.
        by_price: the amount is multiplied by the item's price, relative to the median price of the
            catalogue.
    """

    amount: float
    by_price: bool = False

    @property
    def text(self) -> str:
        """Return the value as the setting has it."""
        if not self.by_price:
            return f"{self.amount:g}"
        return BY_PRICE if self.amount == 1 else f"{self.amount:g}*{BY_PRICE}"


@dataclass(frozen=True)
class EventValues:
    """Holds the value of each event type that has one; all others are worth 0.

    >>> EventValues.parse("Purchase=10*price, AddToCart=4").text
    'View=1,AddToCart=4,Purchase=10*price'
    >>> EventValues.parse("View=3").text
    'View=1'
    """

    of: Mapping[EventType, EventValue]  # of clicks and what follows, in the order of EVENT_TYPES
    dismissed: float = 0.0  # of a dismissal, at most 0; 0: nothing is learnt from it

    @classmethod
    def parse(cls, text: str) -> EventValues:
        """Read a setting. View is worth 1 where it is not named.

        Raises:
            ValueError: the text has another form; names the setting, the wrong part and the remedy.
        """
        named: dict[EventType, EventValue] = {}
        dismissed: float | None = None
        for part in text.split(","):
            event, value = _pair(part)
            if event in named or (event == DISMISS and dismissed is not None):
                raise ValueError(f"{SETTING} names {event} twice, got {text!r}: name it once")
            if event == DISMISS:
                dismissed = value.amount
            else:
                named[event] = value
        named.setdefault(VIEW, EventValue(1.0))
        valued = {event: named[event] for event in EVENT_TYPES if event in named}
        valued = {event: value for event, value in valued.items() if value.amount > 0}
        if not valued:
            raise ValueError(
                f"{SETTING} gives every event the value 0, got {text!r}: nothing could be learnt; "
                "give one event a value above 0"
            )
        # one value for all clicks weighs none of them
        if [*valued] == [VIEW] and not valued[VIEW].by_price:
            valued = {VIEW: EventValue(1.0)}
        return cls(valued, dismissed or 0.0)

    @property
    def text(self) -> str:
        """Return the values in one form, which equal values share."""
        learnt = f",{DISMISS}={self.dismissed:g}" if self.dismissed else ""
        return self.clicks + learnt

    @property
    def clicks(self) -> str:
        """Return the values without that of dismissals, in the same form."""
        named = {VIEW: EventValue(0.0), **self.of}
        return ",".join(f"{event}={named[event].text}" for event in EVENT_TYPES if event in named)

    @property
    def plain(self) -> bool:
        """Return whether each click counts once."""
        return self.clicks == DEFAULT

    @property
    def by_price(self) -> list[EventType]:
        """Return the events whose value depends on the price."""
        return [event for event, value in self.of.items() if value.by_price]


def normalised(text: str) -> str:
    """Return a setting in the form that equal values share; raise as ``EventValues.parse``."""
    return EventValues.parse(text).text


def _pair(part: str) -> tuple[EventType, EventValue]:
    """Read one part of the setting; raise ValueError as ``EventValues.parse``."""
    name, equals, value = (one.strip() for one in part.partition("="))
    if not equals or not value:
        raise ValueError(f"{SETTING}: {part.strip()!r} is no pair of event and value: {_FORM}")
    if name == IMPRESSION:
        raise ValueError(
            f"{SETTING}: {part.strip()!r} values an item that was shown and not clicked, which "
            "has no value: leave it out"
        )
    event = next((one for one in EVENT_TYPES if one == name), None)
    if event is None:
        allowed = ", ".join((*INTEREST_EVENTS, DISMISS))
        raise ValueError(f"{SETTING}: {name!r} is no event: use {allowed}")
    amount, times, word = (one.strip() for one in value.partition("*"))
    by_price = BY_PRICE in ((word,) if times else (amount,))
    if times and not by_price:
        raise ValueError(f"{SETTING}: {part.strip()!r} has no value: {_FORM}")
    try:
        number = 1.0 if by_price and not times else float(amount)
    except ValueError:
        raise ValueError(f"{SETTING}: {part.strip()!r} has no value: {_FORM}") from None
    if event == DISMISS:
        if by_price or not math.isfinite(number) or number > 0:
            raise ValueError(
                f"{SETTING}: {part.strip()!r} gives a dismissal a value that is no number of at "
                f"most 0, and it is negative feedback: write {DISMISS}=-1, or leave it out"
            )
    elif not math.isfinite(number) or number < 0:
        raise ValueError(
            f"{SETTING}: {part.strip()!r} is below 0 or not finite, and {event} follows a click; "
            f"only {DISMISS} is negative feedback: {_FORM}"
        )
    return event, EventValue(number, by_price)
