"""Define which items a visitor has seen: the one rule of serving and evaluation.

An item is seen if one of the rule's events on it lies in the last days, the current one included,
strictly before the moment. Days are local days of the shop. The event consumer and the back-fill of
history store every event but impressions, so that each rule can be applied when it is read. This
module imports no polars: the serving environment has none.

Beside the rule, and whatever it is, a *dismissed* item is hidden: one on which the visitor's
``Dismiss`` lies in the last ``SeenRule.dismissed_days``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys_assets.columns import DISMISS, INTEREST_EVENTS, EventType
from recsys_assets.files import FileCorrupt, read_json
from recsys_assets.settings import DEFAULT_SEEN_DAYS

#: Events that can make an item seen: all in which the visitor showed interest.
ACTS: tuple[EventType, ...] = INTEREST_EVENTS
#: Events that a visitor's filters hold.
KEPT_EVENTS: tuple[EventType, ...] = (*ACTS, DISMISS)


@dataclass(frozen=True)
class SeenRule:
    """Defines which events make an item seen, and for how many days.

    Attributes:
        events: event types, a subset of ACTS.
        days: local days, the current one included; 0: an item is never seen.

    Raises:
        ValueError: an event type is not of ACTS, or the days are negative.
    """

    events: tuple[EventType, ...]
    days: int

    def __post_init__(self) -> None:
        """Check the values."""
        if not set(self.events) <= set(ACTS) or self.days < 0:
            raise ValueError(
                f"a seen rule has event types of {', '.join(ACTS)} and days ≥ 0, got "
                f"{self.events} and {self.days}"
            )

    @property
    def never(self) -> bool:
        """Return whether no item counts as seen."""
        return not self.events or not self.days

    @property
    def dismissed_days(self) -> int:
        """Return for how many local days a dismissed item is hidden, the current one included.

        At least DEFAULT_SEEN_DAYS, as long as the stores keep any event at least.
        """
        return max(DEFAULT_SEEN_DAYS, self.days)

    def as_json(self) -> dict[str, Any]:
        """Return the rule as JSON values."""
        return {"events": list(self.events), "days": self.days}

    def text(self) -> str:
        """Return in words what hides an item.

        >>> SeenRule(("Purchase",), 3).text()
        'Purchase in the last 3 days'
        """
        if self.never:
            return "nothing"
        named = "any event but Impression" if self.events == ACTS else ", ".join(self.events)
        return f"{named} in the last {self.days} days"


#: Everything that a visitor clicked counts as seen; the rule before a log says otherwise.
DEFAULT_RULE = SeenRule(ACTS, DEFAULT_SEEN_DAYS)
NEVER = SeenRule((), 0)


def nothing_seen(days: int) -> SeenRule:
    """Return the rule under which nothing counts as seen.

    days: above DEFAULT_SEEN_DAYS, dismissed items are hidden for so many days.
    """
    return SeenRule((), days) if days > DEFAULT_SEEN_DAYS else NEVER


def parse_rule(content: Mapping[str, Any]) -> SeenRule:
    """Return the rule of ``SeenRule.as_json``.

    Raises:
        ValueError: the content is no rule.
    """
    events, days = content.get("events"), content.get("days")
    if not isinstance(events, list) or type(days) is not int:
        raise ValueError(f"a seen rule is {{events: […], days: n}}, got {dict(content)}")
    # in the order of ACTS, so that equal rules compare equal
    if unknown := [event for event in events if event not in ACTS]:
        raise ValueError(f"{unknown} are no event types of {', '.join(ACTS)}")
    return SeenRule(tuple(event for event in ACTS if event in events), days)


def read_rule(path: Path) -> SeenRule:
    """Read a rule from a file of a release or of ``features/seen_rule``.

    Raises:
        FileCorrupt: the file is missing or holds no rule.
    """
    try:
        return parse_rule(read_json(path))
    except (ValueError, AttributeError) as error:
        raise FileCorrupt(f"{path}: {error}; build the release again") from error
