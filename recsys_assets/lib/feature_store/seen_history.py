"""Write what the ingested log says that visitors had into their Bloom filters.

The event consumer writes the filters from live events. This module writes the same bits in bulk
from ``raw/interactions``, for the days that can still be read. Bits are only set, so that live
events stay, and writing twice changes nothing. Events before a visitor's last reset are left out.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
import polars as pl
import redis

from recsys_assets.artifacts import Artifact
from recsys_assets.columns import EVENT_TYPE, ITEM_ID, MISSING, TIMESTAMP, USER_ID
from recsys_assets.lib.feature_store import bloom
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.features.local_days import local_days
from recsys_assets.lib.features.seen import ACTS, kept_days, time_zone
from recsys_assets.local_time import day_name, day_number
from recsys_assets.settings import VISITOR_DATABASE, Settings

#: Filters that are made and sent at once: 32 MiB of bits before they are packed.
CHUNK = 2_000
TIMEOUT_MS = 30_000  # of one pipeline

#: Sets bits of one visitor's filters, unless the visitor was reset since the events were chosen.
#: KEYS: reset, scratch, then one per day. ARGV: the reset that was read, then bits and expiry per
#: day. Returns 0 where another reset is in force.
_ADD = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
for n = 3, #KEYS do
  local bits, expires = ARGV[2 * n - 4], ARGV[2 * n - 3]
  if not redis.call('SET', KEYS[n], bits, 'NX', 'EXAT', expires) then
    redis.call('SET', KEYS[2], bits)
    redis.call('BITOP', 'OR', KEYS[n], KEYS[n], KEYS[2])
    redis.call('EXPIREAT', KEYS[n], expires)
    redis.call('DEL', KEYS[2])
  end
end
return 1
"""
_SCRATCH = "seen_history:scratch"


class SeenHistory(TypedDict):
    """Holds the counts of ``publish_seen``."""

    seen_filters: int  # one per visitor and day
    seen_visitors: int
    seen_visitors_refused: int  # a key of the visitor holds another type
    seen_seconds: float
    seen_history: str  # what was written, in words


def publish_seen(
    settings: Settings, interactions: Sequence[Artifact], *, clock: Callable[[], float] = time.time
) -> SeenHistory:
    """Set the bits of every visitor's events in the days that still count.

    Args:
        settings: names the store, the zone and the days.
        interactions: ``raw/interactions`` of the last days, in order.
        clock: unix seconds.

    Raises:
        redis.RedisError: the store does not answer or refuses to write.
    """
    zone, kept, started = time_zone(settings), kept_days(settings), time.monotonic()
    today = bloom.local_day(clock(), zone)
    newest = max((str(artifact.partition) for artifact in interactions), default=None)
    found: SeenHistory = {
        "seen_filters": 0,
        "seen_visitors": 0,
        "seen_visitors_refused": 0,
        "seen_seconds": 0.0,
        "seen_history": "no day is given: nothing of the log counts as seen today",
    }
    if newest is None:
        return found
    age = today - day_number(newest)
    if age >= kept:
        found["seen_history"] = (
            f"the newest event is {age} days old, events count for {kept} days: nothing of the log "
            "counts as seen today"
        )
        return found
    with visitor_client(settings, VISITOR_DATABASE, timeout_ms=TIMEOUT_MS) as client:
        for part in _parts(_acts(interactions, zone, first=today - kept + 1)):
            written, refused = _write(client, part, kept, zone)
            found["seen_filters"] += written
            found["seen_visitors"] += part[USER_ID].n_unique()
            found["seen_visitors_refused"] += refused
    found["seen_seconds"] = round(time.monotonic() - started, 3)
    found["seen_history"] = (
        f"{found['seen_filters']} filters of visitors and days, up to {newest}, {age} days ago"
    )
    return found


def _acts(interactions: Sequence[Artifact], zone: str, first: int) -> pl.DataFrame:
    """Return {user_id, day, item_id, event_type, timestamp (the last)}, by visitor and day."""
    # a zone moves an event by less than a day
    recent = [a for a in interactions if str(a.partition) >= day_name(first - 1)]
    return (
        pl.scan_parquet([artifact.path("interactions.parquet") for artifact in recent])
        .filter(pl.col(EVENT_TYPE).is_in(ACTS), pl.col(USER_ID) != MISSING)
        .select(USER_ID, ITEM_ID, EVENT_TYPE, TIMESTAMP, day=local_days(TIMESTAMP, zone))
        .filter(pl.col("day") >= first)
        .group_by(USER_ID, "day", ITEM_ID, EVENT_TYPE)
        .agg(pl.col(TIMESTAMP).max())
        .sort(USER_ID, "day")
        .collect()
    )


def _parts(acts: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield whole visitors with about CHUNK filters in sum."""
    if acts.is_empty():
        return
    visitor = acts[USER_ID].rle_id().to_numpy()
    filters = acts.select(pl.struct(USER_ID, "day").rle_id()).to_series().to_numpy()
    # the part of a visitor is that of its first filter
    first = np.flatnonzero(np.diff(visitor, prepend=-1))
    part = (filters[first] // CHUNK)[visitor]
    bounds = [*np.flatnonzero(np.diff(part, prepend=-1)).tolist(), len(part)]
    for start, end in itertools.pairwise(bounds):
        yield acts[start:end]


def _write(client: redis.Redis, acts: pl.DataFrame, kept: int, zone: str) -> tuple[int, int]:
    """Write the filters of some visitors; return the numbers of filters and refused visitors."""
    script = client.register_script(_ADD)
    written = refused = 0
    while not acts.is_empty():
        names = acts[USER_ID].unique(maintain_order=True).to_list()
        replies: Any = client.mget([bloom.reset_key(name) for name in names])
        resets = {
            name: reply.decode() if reply else ""
            for name, reply in zip(names, replies, strict=True)
        }
        counted = _since(acts, resets)
        filters = _filters(counted)
        with client.pipeline(transaction=False) as pipeline:
            for name, days in filters.items():
                keys = bloom.seen_keys(name, [day for day, _ in days])
                arguments = [
                    value for day, bits in days for value in (bits, bloom.expiry(day, kept, zone))
                ]
                script(
                    keys=[bloom.reset_key(name), _SCRATCH, *keys],
                    args=[resets[name], *arguments],
                    client=pipeline,
                )
            results = pipeline.execute(raise_on_error=False)
        again = []
        for (name, days), result in zip(filters.items(), results, strict=True):
            if isinstance(result, redis.RedisError):
                if "WRONGTYPE" not in str(result):
                    raise result
                refused += 1
            elif result:
                written += len(days)
            else:
                again.append(name)
        # reset meanwhile: choose their events anew
        acts = acts.filter(pl.col(USER_ID).is_in(again))
    return written, refused


def _since(acts: pl.DataFrame, resets: dict[str, str]) -> pl.DataFrame:
    """Return the events from each visitor's last reset on."""
    given = [(name, int(reset)) for name, reset in resets.items() if reset]
    if not given:
        return acts
    since = pl.DataFrame(given, schema={USER_ID: pl.String, "since": pl.Int64}, orient="row")
    return (
        acts.join(since, on=USER_ID, how="left", maintain_order="left")
        .filter(pl.col("since").is_null() | (pl.col(TIMESTAMP) >= pl.col("since")))
        .drop("since")
    )


def _filters(acts: pl.DataFrame) -> dict[str, list[tuple[str, bytes]]]:
    """Return visitor → (day of the key, bits) of each of its days."""
    if acts.is_empty():
        return {}
    # items of this part, each hashed once
    items = acts[ITEM_ID].unique(maintain_order=True)
    index = acts.select(
        pl.col(ITEM_ID).replace_strict(items, pl.int_range(len(items), eager=True))
    ).to_series()
    event = acts[EVENT_TYPE].replace_strict(ACTS, range(len(ACTS)), return_dtype=pl.Int64)
    prints = bloom.fingerprints(items)[index.to_numpy()] ^ bloom.masks(ACTS)[event.to_numpy()]
    of_filter = acts.select(pl.struct(USER_ID, "day").rle_id()).to_series().to_numpy()
    first = np.flatnonzero(np.diff(of_filter.astype(np.int64), prepend=-1))
    bits = np.zeros((len(first), bloom.BITS), np.uint8)
    bits[of_filter[:, None], bloom.positions_of(prints)] = 1
    packed = np.packbits(bits, axis=1)
    names, days = acts[USER_ID].gather(first).to_list(), acts["day"].gather(first).to_list()
    found: dict[str, list[tuple[str, bytes]]] = {}
    for name, day, row in zip(names, days, packed, strict=True):
        found.setdefault(name, []).append((bloom.key_day(day), row.tobytes()))
    return found
