"""Count the clicks of all visitors with decay, in sorted sets of Valkey (database 1).

``popular_now:<half-life>h:<period>`` has the items that were clicked up to now, with the weights of
``lib.sources.forward_decay``. Readers take the key of the current period. The event consumer adds a
click in the script that applies its event (``serving.events.visitor_state``), so that it counts
exactly once. Therefore the keys lie in the database of the visitors.

A shop whose events come as files has no stream, and a first start has no counts. So
``publish_popular_now`` raises the counts to those of the log. It cannot write a new key and rename
it: clicks that the consumer counts meanwhile, and those that the log does not have yet, would be
lost; adding the log to the key would count the clicks of both twice. Instead,
``popular_now:<half-life>h:day:<day>`` holds what the counts have of each local day. The counts of a
day are raised to the log's where these are higher, item by item. This is the rule of
``click_history.merged``: neither the order of writes nor a repetition changes the result, and a
write that ends halfway is completed by the next one.

Memory: a member takes 76 bytes with an id of 10 characters, so a key has 1.5 MB at most. Per
half-life there are three keys of periods and nine of days at most: 37 MB in all where 20,000 items
are clicked on each day, however large the catalogue is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import redis

from recsys_assets.artifacts import Artifact
from recsys_assets.columns import (
    EVENT_TYPE,
    IMPRESSION,
    ITEM_ID,
    SECONDS_PER_DAY,
    TIMESTAMP,
    USER_ID,
)
from recsys_assets.lib.feature_store.bloom import key_day
from recsys_assets.lib.feature_store.bloom import local_day as day_number_of
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.features.counted_clicks import counted
from recsys_assets.lib.landing.local_days import local_day
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.lib.sources.forward_decay import HALF_LIVES, period_of, period_start, weights
from recsys_assets.partitions import time_zone
from recsys_assets.settings import VISITOR_DATABASE, Settings

#: Items per key. The lowest leave first.
MEMBERS = 20_000
#: Days for which the counts of a day are kept apart, so that its log can still raise them. After
#: seven days, a click weighs 2^-14 of a new one by the longest half-life.
KEPT_DAYS = 7
TIMEOUT_MS = 10_000  # of one call
#: Items that one call raises, some 2 ms: requests wait for it.
_BATCH = 250

#: KEYS: of a day, then of periods. ARGV: members; then expiry and scale of each key, the day's
#: scale being 1; then pairs of item and count.
_RAISE = """
local raised, first = 0, 2 * #KEYS + 2
for n = first, #ARGV, 2 do
  local had = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[n]) or '0')
  local more = tonumber(ARGV[n + 1]) - had
  if more > 1e-9 * had then
    redis.call('ZADD', KEYS[1], ARGV[n + 1], ARGV[n])
    for key = 2, #KEYS do
      local scaled = string.format('%.17g', more * tonumber(ARGV[2 * key + 1]))
      redis.call('ZINCRBY', KEYS[key], scaled, ARGV[n])
    end
    raised = raised + 1
  end
end
for key = 1, #KEYS do
  redis.call('ZREMRANGEBYRANK', KEYS[key], 0, -tonumber(ARGV[1]) - 1)
  redis.call('EXPIREAT', KEYS[key], ARGV[2 * key])
end
return raised
"""


@dataclass(frozen=True)
class PopularNowCounts:
    """Holds the counts of ``publish_popular_now``; feature_store/popularity shows them."""

    popular_now: str  # what was written, or why nothing was
    popular_now_raised: int = 0  # items whose counts of a day and half-life were raised


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
    day = day_number_of(timestamp, zone)
    found = []
    for half_life in HALF_LIVES:
        targets = _targets(half_life, day, period_of(timestamp, half_life))
        starts = np.array([start for _, start, _ in targets])
        values = weights(np.array([timestamp]), starts, half_life)
        found += [
            Addition(key, weight, expires)
            for (key, _, expires), weight in zip(targets, values.tolist(), strict=True)
        ]
    return found


def _targets(half_life: int, day: int, period: int) -> list[tuple[str, int, int]]:
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


def publish_popular_now(
    settings: Settings, interactions: Sequence[Artifact], *, clock: Callable[[], float] = time.time
) -> PopularNowCounts:
    """Raise the counts to those of the log's last days; see the module.

    Args:
        settings: names the store and the zone.
        interactions: ``raw/interactions`` of the last days, in order.
        clock: unix seconds.

    Raises:
        redis.RedisError: the store does not answer or refuses to write. Some counts may be raised;
            publish again.
    """
    now, zone = clock(), time_zone(settings)
    clicks = _clicks(interactions, zone, day_number_of(now, zone) - KEPT_DAYS + 1, int(now))
    if clicks.is_empty():
        return PopularNowCounts(f"no click of the last {KEPT_DAYS} days: nothing is popular now")
    raised = 0
    with visitor_client(settings, VISITOR_DATABASE, timeout_ms=TIMEOUT_MS) as client:
        script = client.register_script(_RAISE)
        for (day,), of_day in clicks.group_by("day", maintain_order=True):
            newest = int(of_day[TIMESTAMP].to_numpy().max())
            for half_life in HALF_LIVES:
                # where a period starts within the day, its key has the whole day
                targets = _targets(half_life, int(str(day)), period_of(newest, half_life))
                raised += sum(
                    int(script(keys=[key for key, _, _ in targets], args=arguments))
                    for arguments in _arguments(of_day, half_life, targets)
                )
    return PopularNowCounts(
        f"{clicks.height:,} clicks of {clicks['day'].n_unique()} days are in the counts", raised
    )


def _clicks(interactions: Sequence[Artifact], zone: str, first: int, now: int) -> pl.DataFrame:
    """Return {item_id, timestamp, day} of the clicks that count, from a local day up to now."""
    if not interactions:
        return pl.DataFrame()
    clicks = (
        scan_interactions(interactions)
        .filter(pl.col(EVENT_TYPE) != IMPRESSION, pl.col(TIMESTAMP) <= now)
        .select(USER_ID, ITEM_ID, TIMESTAMP, day=local_day(pl.col(TIMESTAMP), zone))
        .filter(pl.col("day") >= first)
        .collect()
    )
    return counted(clicks).select(ITEM_ID, TIMESTAMP, "day").sort("day", maintain_order=True)


def _arguments(
    clicks: pl.DataFrame, half_life: int, targets: Sequence[tuple[str, int, int]]
) -> Iterator[list[Any]]:
    """Yield the arguments of _RAISE for the most clicked items of a day, highest counts first."""
    start = targets[0][1]
    counts = (
        clicks.with_columns(
            count=pl.Series(weights(clicks[TIMESTAMP].to_numpy(), start, half_life))
        )
        .group_by(ITEM_ID)
        .agg(pl.col("count").sum())
        .sort("count", ITEM_ID, descending=[True, False])
        .head(MEMBERS)
    )
    scales = weights(
        np.array([start]), np.array([own for _, own, _ in targets]), half_life
    ).tolist()
    head: list[Any] = [MEMBERS]
    for (_, _, expires), scale in zip(targets, scales, strict=True):
        head += [expires, repr(scale)]
    for part in counts.iter_slices(_BATCH):
        pairs = zip(part[ITEM_ID].to_list(), part["count"].to_list(), strict=True)
        yield head + [value for item, count in pairs for value in (item, repr(count))]


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
