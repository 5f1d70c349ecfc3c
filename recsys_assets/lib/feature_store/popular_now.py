"""Count the clicks of all visitors with decay, in sorted sets of Valkey (database 1).

``popular_now:<half-life>h:<period>`` has the items that were clicked up to now, with the weights of
``lib.sources.forward_decay``. Readers take the key of the current period. The event consumer adds a
click in the script that applies its event (``serving.events.visitor_state``), so that it counts
exactly once. Therefore the keys lie in the database of the visitors.

``popular_now:<half-life>h:day:<day>`` holds what the counts have of a local day, so that the log of
the day can raise them (``popular_history``).

Memory: a member takes 76 bytes with an id of 10 characters, so a key has 1.5 MB at most. Per
half-life there are three keys of periods and nine of days at most: 37 MB in all where 20,000 items
are clicked on each day, however large the catalogue is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import redis

from recsys_assets.columns import SECONDS_PER_DAY
from recsys_assets.lib.feature_store.bloom import key_day, local_day
from recsys_assets.lib.sources.forward_decay import HALF_LIVES, period_of, period_start, weights

#: Items per key. The lowest leave first.
MEMBERS = 20_000
#: Days for which the counts of a day are kept apart, so that its log can still raise them. After
#: seven days, a click weighs 2^-14 of a new one by the longest half-life.
KEPT_DAYS = 7


@dataclass(frozen=True)
class Addition:
    """Holds what one click adds to one key."""

    key: str
    weight: float
    expires: int  # unix seconds


def period_key(half_life: int, period: int) -> str:
    """Return the key of the counts of a period.

    >>> period_key(3, 660)
    'popular_now:3h:660'
    """
    return f"popular_now:{half_life}h:{period}"


def day_key(half_life: int, day: int) -> str:
    """Return the key of what the counts have of a local day; day: since 1970.

    >>> day_key(3, 0)
    'popular_now:3h:day:19700101'
    """
    return f"popular_now:{half_life}h:day:{key_day(day)}"


def additions(timestamp: int, zone: str) -> list[Addition]:
    """Return what a click adds: per half-life, to its period, the next one, and its local day.

    Args:
        timestamp: of the click, unix seconds.
        zone: of the shop.
    """
    day = local_day(timestamp, zone)
    found = []
    for half_life in HALF_LIVES:
        aimed = targets(half_life, day, period_of(timestamp, half_life))
        starts = np.array([start for _, start, _ in aimed])
        values = weights(np.array([timestamp]), starts, half_life)
        found += [
            Addition(key, weight, expires)
            for (key, _, expires), weight in zip(aimed, values.tolist(), strict=True)
        ]
    return found


def targets(half_life: int, day: int, period: int) -> list[tuple[str, int, int]]:
    """Return key, start of its weights, and expiry: of a day, a period and the next period."""
    # a period's key is read until the next period starts; one more leaves room for slow clocks
    return [
        (day_key(half_life, day), day * SECONDS_PER_DAY, (day + KEPT_DAYS + 2) * SECONDS_PER_DAY),
        *(
            (
                period_key(half_life, number),
                period_start(number, half_life),
                period_start(number + 2, half_life),
            )
            for number in (period, period + 1)
        ),
    ]


def most_clicked(
    client: redis.Redis, half_life: int, now: float, most: int
) -> tuple[list[str], np.ndarray]:
    """Read the items of the highest counts of now.

    Args:
        client: of VISITOR_DATABASE, replies as bytes.
        half_life: hours, one of HALF_LIVES.
        now: unix seconds.
        most: items.

    Returns:
        item ids, and counts float64 [N].

    Raises:
        redis.RedisError: the store does not answer, or the key holds another type.
    """
    key = period_key(half_life, period_of(now, half_life))
    pairs: Any = client.zrevrange(key, 0, most - 1, withscores=True)
    return (
        [item.decode("utf-8", "replace") for item, _ in pairs],
        np.array([count for _, count in pairs], np.float64),
    )
