"""Defines the result of a check in a process of its own, and shows it as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from recsys_assets.lib.served_check.agreement import Agreement

OUTCOME_FILE = "outcome.json"
#: Cause → what it means, in the order of the table.
MEANINGS = {
    "equal": "same items in the same order",
    "rounding": "near ties that changed places",
    "bloom_filter": "an item that the seen filter takes for seen",
    "degraded": "a part of the gateway failed",
    "different": "no such cause: a fault",
}
_SHOWN = 10


class ServedOutcome(TypedDict):
    """Holds the result of a check, or why there is none."""

    agreement: Agreement | None
    nothing: str  # why there was nothing to compare
    impossible: str  # why the check could not run, and the remedy


def undecided(causes: Mapping[str, int]) -> bool:
    """Return whether only failed parts speak against a release, which are no fault of its files.

    >>> undecided({"equal": 9, "degraded": 1, "different": 0})
    True
    """
    return bool(causes["degraded"]) and not causes["different"]


def causes_table(found: Agreement) -> str:
    """Return the number of lists per cause as Markdown."""
    rows = [
        f"| {cause.replace('_', ' ')} | {found['causes'][cause]} | {meaning} |"
        for cause, meaning in MEANINGS.items()
    ]
    return "\n".join(["| lists | number | meaning |", "| --- | ---: | --- |", *rows])


def difference_text(found: Agreement) -> str:
    """Return the first query whose lists differ, as one line."""
    first = found["first"]
    if first is None:
        return "every list has the same items in the same order"
    reasons = f", degraded: {', '.join(first['reasons'])}" if first["reasons"] else ""
    return (
        f"event {first['event_id']} at {first['timestamp']}: the "
        f"lists differ from place {first['place']} on "
        f"({first['cause'].replace('_', ' ')}{reasons})"
    )


def difference_rows(found: Agreement) -> list[tuple[str, str, str]]:
    """Return (place, evaluated item, served item) around the first difference."""
    first = found["first"]
    if first is None:
        return []
    begin = max(0, first["place"] - 3)
    end = min(begin + _SHOWN, max(len(first["evaluated"]), len(first["served"])))
    return [
        (str(n + 1), _item(first["evaluated"], n), _item(first["served"], n))
        for n in range(begin, end)
    ]


def first_difference(found: Agreement) -> str:
    """Return the first query whose lists differ, with both lists around the place, as Markdown."""
    rows = [f"| {' | '.join(row)} |" for row in difference_rows(found)]
    head = ["", "| place | evaluated | served |", "| ---: | --- | --- |"] if rows else []
    return "\n".join([difference_text(found), *head, *rows])


def summary(found: Agreement) -> str:
    """Return the result as one sentence.

    >>> summary({"causes": {"equal": 9, "rounding": 1}, "queries": 10, "release": 3})
    'release 3: 9 of 10 lists are equal, rounding 1'
    """
    others = [
        f"{cause.replace('_', ' ')} {count}"
        for cause, count in found["causes"].items()
        if count and cause != "equal"
    ]
    counts = f"{found['causes']['equal']} of {found['queries']} lists are equal"
    return ", ".join([f"release {found['release']}: {counts}", *others])


def _item(items: list[str], place: int) -> str:
    return items[place] if place < len(items) else ""
