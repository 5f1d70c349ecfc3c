"""What a visitor's clicks of the last 24 hours, and of the last days, say at one moment: what
training and serving share.

Plain Python without imports beside the column names, so that a serving stage computes at request
time what ``features.interaction_features`` computes for a whole day.
"""

from __future__ import annotations

from collections.abc import Sequence

from recsys_assets.columns import HISTORY_DAYS, LOOK_BACK_HOURS, MISSING

SECONDS_PER_HOUR = 3_600
WINDOW_SECONDS = LOOK_BACK_HOURS * SECONDS_PER_HOUR
HISTORY_SECONDS = HISTORY_DAYS * 24 * SECONDS_PER_HOUR
#: Of one visitor's clicks only these many, the latest, count: what the online store holds of a
#: visitor.
RECENT_CLICKS = 200


def top_category(categories: Sequence[str], timestamps: Sequence[int], now: int) -> str:
    """The top category of one user's clicks at ``now`` (unix seconds), MISSING where none lies in
    the window.

    The most frequent category of [now − 24 h, now); equal counts go to the category clicked last,
    equal last clicks to the name that sorts first.

    >>> top_category(["tools", "books", "tools"], [100, 150, 200], now=300)
    'tools'
    >>> top_category(["tools", "books"], [100, 200], now=300)  # a tie: the most recent
    'books'
    >>> top_category(["tools"], [300], now=300)  # not strictly before now
    '-1'
    """
    return activity_features(categories, timestamps, now)[0]


def history(
    categories: Sequence[str], timestamps: Sequence[int], now: int
) -> tuple[Sequence[str], int]:
    """A visitor's clicks that count at a moment, and how many of them lie in the last 24 hours.

    Args:
        categories, timestamps, now: as for ``activity_features``.

    Returns:
        The categories of the latest RECENT_CLICKS clicks in [now − 7 days, now), oldest first, and
        the number of the last of them that lie in [now − 24 h, now).

    >>> history(["books", "tools", "books"], [0, 90_000, 100_000], now=100_000)
    (['books', 'tools'], 1)
    """
    counted = _clicks(categories, timestamps, now)
    return [category for category, _ in counted], len(_of_window(counted, now))


def activity_features(
    categories: Sequence[str], timestamps: Sequence[int], now: int
) -> tuple[str, float, float]:
    """What one user's clicks are worth at a moment: (top_category, clicks_24h, hours_since_click).

    Args:
        categories, timestamps: category_l1 and unix seconds of C clicks, oldest first. Those
            outside [now − 24 h, now) do not count, and of more than RECENT_CLICKS before now only
            the latest do.
        now: unix seconds.

    Returns:
        top_category as ``top_category`` defines it, how many clicks count, and the hours from the
        last of them to now. Without any: MISSING, 0.0 and LOOK_BACK_HOURS.

    >>> activity_features(["books", "tools"], [0, 5_400], now=9_000)
    ('tools', 2.0, 1.0)
    >>> activity_features(["books"], [0], now=86_401)
    ('-1', 0.0, 24.0)
    """
    return _features(_of_window(_clicks(categories, timestamps, now), now), now)


def visitor_activity(
    categories: Sequence[str], timestamps: Sequence[int], now: int
) -> tuple[str, float, float, list[str]]:
    """``activity_features`` and the categories of ``history``, of clicks that are gone through
    once.

    >>> visitor_activity(["books", "tools", "books"], [0, 90_000, 100_000], now=100_000)
    ('tools', 1.0, 2.7777777777777777, ['books', 'tools'])
    """
    counted = _clicks(categories, timestamps, now)
    return *_features(_of_window(counted, now), now), [category for category, _ in counted]


def _clicks(
    categories: Sequence[str], timestamps: Sequence[int], now: int
) -> list[tuple[str, int]]:
    """Of the latest RECENT_CLICKS clicks before now those of the last HISTORY_DAYS, in the order
    given.
    """
    before = [click for click in zip(categories, timestamps, strict=True) if click[1] < now][
        -RECENT_CLICKS:
    ]
    begin = now - HISTORY_SECONDS
    return [click for click in before if click[1] >= begin]


def _of_window(counted: list[tuple[str, int]], now: int) -> list[tuple[str, int]]:
    begin = now - WINDOW_SECONDS
    return [click for click in counted if click[1] >= begin]


def _features(counted: list[tuple[str, int]], now: int) -> tuple[str, float, float]:
    """Of the clicks of the window."""
    if not counted:
        return MISSING, 0.0, float(LOOK_BACK_HOURS)
    seen: dict[str, tuple[int, int]] = {}
    for category, at in counted:
        count, last = seen.get(category, (0, at))
        seen[category] = (count + 1, max(last, at))
    top = min(seen, key=lambda name: (-seen[name][0], -seen[name][1], name))
    return top, float(len(counted)), (now - max(at for _, at in counted)) / SECONDS_PER_HOUR
