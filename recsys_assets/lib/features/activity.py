"""Compute a visitor's click features at one moment, for training and serving.

A serving stage computes here per request what ``point_in_time.interaction_features`` computes for a
whole day. This is plain Python that imports only column names, so that serving starts fast.
"""

from __future__ import annotations

from collections.abc import Sequence

from recsys_assets.columns import MISSING, RECENT_HOURS, SECONDS_PER_DAY, SECONDS_PER_HOUR

WINDOW_SECONDS = RECENT_HOURS * SECONDS_PER_HOUR
#: Only a visitor's latest clicks count. The online store keeps this many per visitor.
RECENT_CLICKS = 200


def top_category(categories: Sequence[str], timestamps: Sequence[int], now: int) -> str:
    """Return the most frequent category of a visitor's clicks in [now − 24 h, now).

    Of equal counts, the category clicked last wins; then the name that sorts first. Returns MISSING
    without a click in the window.

    Args:
        categories: category_l1 of C clicks, oldest first.
        timestamps: unix seconds of the C clicks.
        now: unix seconds.

    >>> top_category(["tools", "books", "tools"], [100, 150, 200], now=300)
    'tools'
    >>> top_category(["tools", "books"], [100, 200], now=300)  # a tie: the most recent
    'books'
    >>> top_category(["tools"], [300], now=300)  # not strictly before now
    '-1'
    """
    return activity_features(categories, timestamps, now)[0]


def history(
    categories: Sequence[str], timestamps: Sequence[int], now: int, look_back_days: int
) -> tuple[Sequence[str], int]:
    """Return a visitor's click history at a moment, and its length of 24 hours.

    Args:
        categories: as for ``activity_features``.
        timestamps: as for ``activity_features``.
        now: as for ``activity_features``.
        look_back_days: days of 24 hours that the history covers.

    Returns:
        The categories of the clicks in [now − look_back_days, now), oldest first, the latest
        RECENT_CLICKS at most; and how many of them, at the end, lie in [now − 24 h, now).

    >>> history(["books", "tools", "books"], [0, 90_000, 100_000], now=100_000, look_back_days=7)
    (['books', 'tools'], 1)
    >>> history(["books", "tools", "books"], [0, 90_000, 100_000], now=100_000, look_back_days=1)
    (['tools'], 1)
    """
    counted = _clicks(categories, timestamps, now, look_back_days * SECONDS_PER_DAY)
    return [category for category, _ in counted], len(_of_window(counted, now))


def activity_features(
    categories: Sequence[str], timestamps: Sequence[int], now: int
) -> tuple[str, float, float]:
    """Return a visitor's (top_category, clicks_24h, hours_since_click) at a moment.

    Only clicks in [now − 24 h, now) count, and of all clicks before now only the latest
    RECENT_CLICKS.

    Args:
        categories: category_l1 of C clicks, oldest first.
        timestamps: unix seconds of the C clicks.
        now: unix seconds.

    Returns:
        The top category (see ``top_category``), the number of clicks, and the hours from the last
        click to now. Without a click: MISSING, 0.0 and RECENT_HOURS.

    >>> activity_features(["books", "tools"], [0, 5_400], now=9_000)
    ('tools', 2.0, 1.0)
    >>> activity_features(["books"], [0], now=86_401)
    ('-1', 0.0, 24.0)
    """
    return _features(_clicks(categories, timestamps, now, WINDOW_SECONDS), now)


def visitor_activity(
    categories: Sequence[str], timestamps: Sequence[int], now: int, look_back_days: int
) -> tuple[str, float, float, list[str]]:
    """Return ``activity_features`` and the categories of ``history`` in one pass.

    >>> visitor_activity(["books", "tools", "books"], [0, 90_000, 100_000], 100_000, 7)
    ('tools', 1.0, 2.7777777777777777, ['books', 'tools'])
    """
    counted = _clicks(categories, timestamps, now, look_back_days * SECONDS_PER_DAY)
    return *_features(_of_window(counted, now), now), [category for category, _ in counted]


def _clicks(
    categories: Sequence[str], timestamps: Sequence[int], now: int, seconds: int
) -> list[tuple[str, int]]:
    """Return the clicks in [now − seconds, now), the latest RECENT_CLICKS at most."""
    before = [click for click in zip(categories, timestamps, strict=True) if click[1] < now][
        -RECENT_CLICKS:
    ]
    begin = now - seconds
    return [click for click in before if click[1] >= begin]


def _of_window(counted: list[tuple[str, int]], now: int) -> list[tuple[str, int]]:
    begin = now - WINDOW_SECONDS
    return [click for click in counted if click[1] >= begin]


def _features(counted: list[tuple[str, int]], now: int) -> tuple[str, float, float]:
    """Return ``activity_features`` of the clicks in the window."""
    if not counted:
        return MISSING, 0.0, float(RECENT_HOURS)
    seen: dict[str, tuple[int, int]] = {}
    for category, at in counted:
        count, last = seen.get(category, (0, at))
        seen[category] = (count + 1, max(last, at))
    top = min(seen, key=lambda name: (-seen[name][0], -seen[name][1], name))
    return top, float(len(counted)), (now - max(at for _, at in counted)) / SECONDS_PER_HOUR
