"""Raise the counts of what is popular now to those of the log.

A shop whose events come as files has no stream, and a first start has no counts. The log cannot
fill a new key that is then renamed: clicks that the consumer counts meanwhile, and those that the
log does not have yet, would be lost. Adding the log to the key would count the clicks of both
twice. So the counts of a local day, which ``popular_now`` keeps apart, are raised to the log's
where these are higher, item by item. This is the rule of ``click_history.merged``: neither the
order of writes nor a repetition changes the result, and a write that ends halfway is completed by
the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.artifacts import Artifact
from recsys_assets.columns import EVENT_TYPE, INTEREST_EVENTS, ITEM_ID, TIMESTAMP, USER_ID
from recsys_assets.lib.feature_store.bloom import local_day as day_number_of
from recsys_assets.lib.feature_store.popular_now import KEPT_DAYS, MEMBERS, targets
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.features.counted_clicks import counted
from recsys_assets.lib.landing.local_days import local_day
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.lib.sources.forward_decay import HALF_LIVES, period_of, weights
from recsys_assets.partitions import time_zone
from recsys_assets.settings import VISITOR_DATABASE, Settings

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
                aimed = targets(half_life, int(str(day)), period_of(newest, half_life))
                raised += sum(
                    int(script(keys=[key for key, _, _ in aimed], args=arguments))
                    for arguments in _arguments(of_day, half_life, aimed)
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
        .filter(pl.col(EVENT_TYPE).is_in(INTEREST_EVENTS), pl.col(TIMESTAMP) <= now)
        .select(USER_ID, ITEM_ID, TIMESTAMP, day=local_day(pl.col(TIMESTAMP), zone))
        .filter(pl.col("day") >= first)
        .collect()
    )
    return counted(clicks).select(ITEM_ID, TIMESTAMP, "day").sort("day", maintain_order=True)


def _arguments(
    clicks: pl.DataFrame, half_life: int, aimed: Sequence[tuple[str, int, int]]
) -> Iterator[list[Any]]:
    """Yield the arguments of _RAISE for the most clicked items of a day, highest counts first."""
    start = aimed[0][1]
    counts = (
        clicks.with_columns(
            count=pl.Series(weights(clicks[TIMESTAMP].to_numpy(), start, half_life))
        )
        .group_by(ITEM_ID)
        .agg(pl.col("count").sum())
        .sort("count", ITEM_ID, descending=[True, False])
        .head(MEMBERS)
    )
    scales = weights(np.array([start]), np.array([own for _, own, _ in aimed]), half_life).tolist()
    head: list[Any] = [MEMBERS]
    for (_, _, expires), scale in zip(aimed, scales, strict=True):
        head += [expires, repr(scale)]
    for part in counts.iter_slices(_BATCH):
        pairs = zip(part[ITEM_ID].to_list(), part["count"].to_list(), strict=True)
        yield head + [value for item, count in pairs for value in (item, repr(count))]
