"""The rung of a release: what serves, why, and what the next rung lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

RungName = Literal["popularity", "item_to_item", "fusion", "full"]
POPULARITY: RungName = "popularity"
ITEM_TO_ITEM: RungName = "item_to_item"
FUSION: RungName = "fusion"
FULL: RungName = "full"
#: From the simplest to the full models.
RUNGS: tuple[RungName, ...] = (POPULARITY, ITEM_TO_ITEM, FUSION, FULL)
#: Those whose releases find candidates by sources.
WITH_SOURCES = (FUSION, FULL)


class NextRung(TypedDict):
    """Names the next rung, and what it lacks, as sentences."""

    name: RungName
    lacks: list[str]


class Rung(TypedDict):
    """Holds the rung of a release and the reason for it; ``next`` is None on the last rung."""

    name: RungName
    why: str
    next: NextRung | None


#: Rung of the releases that were built before there were rungs.
OLDER: Rung = {"name": FULL, "why": "built before there were rungs", "next": None}


def read_rung(content: Mapping[str, Any]) -> Rung:
    """Return the rung of a ``release.json``."""
    rung: Rung = content.get("rung") or OLDER
    return rung


def described(rung: Rung) -> str:
    """Return a rung as one line of text.

    >>> described({"name": "popularity", "why": "3 clicks", "next": None})
    'popularity (3 clicks)'
    """
    text = f"{rung['name']} ({rung['why']})"
    if rung["next"] is not None and rung["next"]["lacks"]:
        text += f"; {rung['next']['name']} lacks {'; '.join(rung['next']['lacks'])}"
    return text
