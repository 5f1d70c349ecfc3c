"""Reserve places of a list for new items, so that a launch is seen before it has clicks.

A list is divided into tens, and its last part may be shorter. The last place of a part is reserved
in 10 of ``every`` tens. So one place in ``every`` is reserved over all lists, short lists have
their share too, and the first places of a list keep their items.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_assets.settings import LEAST_OFTEN, MOST_OFTEN

#: Items of a part of the list, which has one reserved place at most.
PART = 10
_HOUR = 3600


def is_every(value: object) -> bool:
    """Return whether a value says how often a place is reserved: 0 for never, or one in so many."""
    return type(value) is int and (value == 0 or MOST_OFTEN <= value <= LEAST_OFTEN)


@dataclass(frozen=True)
class NewItemPlaces:
    """Holds how many places of a release's lists are reserved, and for which items."""

    every: int  # one place in so many, from settings.MOST_OFTEN to LEAST_OFTEN
    young: np.ndarray  # bool [I], by row of the vocabulary
    length: int = 100  # items of a list at most

    def ends(self, visitor: str, timestamp: int, length: int | None = None) -> list[int]:
        """Return the reserved places of a list, from 1, ascending; see ``reserved``.

        Args:
            visitor: id of the visitor.
            timestamp: of the request, Unix seconds.
            length: of the list; None: ``length`` of the release.
        """
        size = self.length if length is None else length
        return reserved(size, self.every, turn(visitor, timestamp, self.every))


def turn(visitor: str, timestamp: int, every: int) -> int:
    """Return the number from 0 to ``every`` - 1 that decides which parts have a reserved place.

    It follows from visitor and hour. So a visitor who reloads sees the same list, the evaluation
    knows the list that was served, and the anonymous visitors of a day, who share one id, do not
    all have the same places.
    """
    text = f"{visitor} {timestamp // _HOUR}"
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % every


def reserved(length: int, every: int, turn: int) -> list[int]:
    """Return the reserved places of a list, from 1, ascending.

    A part from place s + 1 to e has one where a multiple of ``every`` lies in (s + turn, e + turn].
    So over all turns, (e - s) of ``every`` lists have one, and a list has no two in one part.

    >>> reserved(30, 10, 0), reserved(25, 10, 7)
    ([10, 20, 30], [10, 20, 25])
    >>> [reserved(10, 50, turn) for turn in (0, 39, 40, 49)]
    [[], [], [10], [10]]
    """
    found, before = [], turn // every
    for start in range(0, length, PART):
        end = min(start + PART, length)
        after = (end + turn) // every
        if after > before:
            found.append(end)
        before = after
    return found


def with_places(
    order: np.ndarray,
    young: np.ndarray,
    places: Sequence[int],
    categories: np.ndarray | None = None,
    cap: int = 0,
) -> np.ndarray:
    """Move the best young items to the reserved places of a list.

    The n-th place is free if fewer than n young items are above or on it. It then gets the best
    young item that is not above it. The items from there on move down, and one leaves the list if
    the young item was not in it: the last one, or the last of its category where that has as many
    as the cap allows. A young item whose category has these above the place does not get it.

    Args:
        order: int64 [N], positions of the listed items, best first.
        young: int64 [Y], positions of the young items that may be listed, best first; in the list
            or not.
        places: of ``reserved``.
        categories: by position; not needed without a cap.
        cap: most items per category; 0 for no limit.

    Returns:
        int64 [N]; ``order`` itself where nothing moves.

    >>> with_places(np.array([0, 1, 2, 3, 4]), np.array([3, 9]), [2, 4]).tolist()
    [0, 3, 1, 9, 2]
    """
    if not len(young) or not places:
        return order
    listed, best = order.tolist(), young.tolist()
    fresh, above = set(best), set[int]()
    given, moved = 0, False
    for wanted, place in enumerate(places, start=1):
        part = listed[len(above) : place]
        above.update(part)
        given += len(fresh.intersection(part))
        if given >= wanted:
            continue
        for chosen in best:
            if chosen in above:
                continue
            leaving = _leaving(listed, chosen, categories, cap)
            if leaving not in above or leaving == listed[place - 1]:
                last = listed[place - 1]
                listed.remove(leaving)
                listed.insert(place - 1, chosen)
                above.remove(last)
                above.add(chosen)
                given += last not in fresh
                moved = True
                break
    return np.array(listed, np.int64) if moved else order


def _leaving(listed: list[int], chosen: int, categories: np.ndarray | None, cap: int) -> int:
    """Return the item that leaves its place for a young one: the young one itself, if listed."""
    if chosen in listed:
        return chosen
    if categories is not None and cap:
        alike = [one for one in listed if categories[one] == categories[chosen]]
        if len(alike) >= cap:
            return alike[-1]
    return listed[-1]
