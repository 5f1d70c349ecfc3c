"""Write what the ingested log says that visitors had into their Bloom filters.

The event consumer writes the filters from live events. This module writes the same bits in bulk
from ``raw/interactions``, for the days that can still be read. Bits are only set, so that live
events stay, and writing twice changes nothing. Events before a visitor's last reset are left out.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import redis

from recsys_assets.artifacts import Artifact
from recsys_assets.columns import EVENT_TYPE, ITEM_ID, MISSING, TIMESTAMP, USER_ID
from recsys_assets.lib.feature_store import bloom
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.features.seen import KEPT_EVENTS
from recsys_assets.lib.landing.local_days import local_day
from recsys_assets.lib.raw.rows import scan_interactions
from recsys_assets.local_time import day_name, day_number
from recsys_assets.partitions import time_zone
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
_DONE = "seen_history:"  # and a day: the log of it that was written


@dataclass(frozen=True)
class SeenHistory:
    """Holds the counts of ``publish_seen``; feature_store/online shows them."""

    seen_history: str  # what was written, or why nothing was
    seen_filters: int = 0  # one per visitor and day
    seen_visitors: int = 0
    seen_visitors_refused: int = 0  # a key of the visitor holds another type
    seen_seconds: float = 0.0


@dataclass(frozen=True)
class _Acts:
    """Holds R pairs of event type and item of V visitors, by visitor and day."""

    names: list[str]  # of the V visitors
    visitor: np.ndarray  # int64 [R], ascending
    day: np.ndarray  # int64 [R], number of the local day, ascending per visitor
    prints: np.ndarray  # uint16 [R, 2], fingerprints under the event type
    last: np.ndarray  # int64 [R], unix seconds of the last such event

    def rows(self, kept: np.ndarray | slice) -> _Acts:
        """Return some of the rows."""
        return _Acts(
            self.names, self.visitor[kept], self.day[kept], self.prints[kept], self.last[kept]
        )


_NONE = np.zeros(0, np.int64)
_NO_ACTS = _Acts([], _NONE, _NONE, np.zeros((0, 2), np.uint16), _NONE)


def publish_seen(
    settings: Settings, interactions: Sequence[Artifact], *, clock: Callable[[], float] = time.time
) -> SeenHistory:
    """Set the bits of every visitor's events in the days that still count.

    A day that was written before is left out, until its log, the zone or the kept days change.

    Args:
        settings: names the store, the zone and the days.
        interactions: ``raw/interactions`` of the last days, in order.
        clock: unix seconds.

    Raises:
        redis.RedisError: the store does not answer or refuses to write.
    """
    zone, kept, started = time_zone(settings), settings.kept_seen_days, time.monotonic()
    today = bloom.local_day(clock(), zone)
    if not interactions:
        return SeenHistory("no day is given: nothing of the log counts as seen today")
    newest = max(str(artifact.partition) for artifact in interactions)
    age = today - day_number(newest)
    if age >= kept:
        return SeenHistory(
            f"the newest event is {age} days old, events count for {kept} days: nothing of the log "
            "counts as seen today"
        )
    filters = refused = 0
    with visitor_client(settings, VISITOR_DATABASE, timeout_ms=TIMEOUT_MS) as client:
        new = _not_written(client, interactions, f"{zone} {kept}", day_name(today - kept))
        acts = _acts(list(new.values()), zone, first=today - kept + 1)
        for part in _parts(acts):
            written, broken = _write(client, part, kept, zone)
            filters, refused = filters + written, refused + broken
        for mark, artifact in new.items() if not refused else ():
            day = str(artifact.partition)
            client.set(_DONE + day, mark, exat=bloom.expiry(day.replace("-", ""), kept, zone))
    return SeenHistory(
        f"{filters} filters of visitors and days, from {len(new)} days not written before; the "
        f"newest day is {newest}, {age} days ago",
        filters,
        len(acts.names),
        refused,
        round(time.monotonic() - started, 3),
    )


def _not_written(
    client: redis.Redis, interactions: Sequence[Artifact], how: str, first: str
) -> dict[str, Artifact]:
    """Return mark → log of the days since ``first`` that were not written in this way."""
    # a zone moves an event by less than a day, so ``first`` is a day earlier than the first event
    recent = {f"{a.digest} {how}": a for a in interactions if str(a.partition) >= first}
    if not recent:
        return {}
    marks: Any = client.mget([_DONE + str(artifact.partition) for artifact in recent.values()])
    return {
        mark: artifact
        for (mark, artifact), found in zip(recent.items(), marks, strict=True)
        if found != mark.encode()
    }


def _acts(interactions: Sequence[Artifact], zone: str, first: int) -> _Acts:
    """Return the events since a local day, each pair of item and event type once per day."""
    if not interactions:
        return _NO_ACTS
    acts = (
        scan_interactions(interactions)
        .filter(pl.col(EVENT_TYPE).is_in(KEPT_EVENTS), pl.col(USER_ID) != MISSING)
        .select(USER_ID, ITEM_ID, EVENT_TYPE, TIMESTAMP, day=local_day(pl.col(TIMESTAMP), zone))
        .filter(pl.col("day") >= first)
        .group_by(USER_ID, "day", ITEM_ID, EVENT_TYPE)
        .agg(pl.col(TIMESTAMP).max())
        .sort(USER_ID, "day")
        .collect()
    )
    if acts.is_empty():
        return _NO_ACTS
    items = acts[ITEM_ID].unique()
    item = acts[ITEM_ID].replace_strict(items, range(len(items)), return_dtype=pl.Int64)
    event = acts[EVENT_TYPE].replace_strict(
        KEPT_EVENTS, range(len(KEPT_EVENTS)), return_dtype=pl.Int64
    )
    visitor = acts[USER_ID].rle_id().to_numpy().astype(np.int64)
    return _Acts(
        acts[USER_ID].gather(_starts(visitor)).to_list(),
        visitor,
        acts["day"].to_numpy(),
        bloom.fingerprints(items)[item.to_numpy()] ^ bloom.masks(KEPT_EVENTS)[event.to_numpy()],
        acts[TIMESTAMP].to_numpy(),
    )


def _starts(*values: np.ndarray) -> np.ndarray:
    """Return the first place of each run of equal rows, int64 [runs]."""
    first = np.ones(len(values[0]), bool)
    first[1:] = np.logical_or.reduce([of[1:] != of[:-1] for of in values])
    return np.flatnonzero(first)


def _parts(acts: _Acts) -> Iterator[_Acts]:
    """Yield whole visitors with about CHUNK filters in sum."""
    filters = np.zeros(len(acts.visitor), np.int64)
    filters[_starts(acts.visitor, acts.day)] = 1
    # the part of a visitor is that of its first filter
    of_first = ((np.cumsum(filters) - 1) // CHUNK)[_starts(acts.visitor)]
    bounds = [*_starts(of_first[acts.visitor]).tolist(), len(acts.visitor)]
    for start, end in itertools.pairwise(bounds):
        yield acts.rows(slice(start, end))


def _write(client: redis.Redis, acts: _Acts, kept: int, zone: str) -> tuple[int, int]:
    """Write the filters of some visitors; return the numbers of filters and refused visitors."""
    script = client.register_script(_ADD)
    written = refused = 0
    while len(acts.visitor):
        visitors = acts.visitor[_starts(acts.visitor)]
        names = [acts.names[visitor] for visitor in visitors.tolist()]
        replies: Any = client.mget([bloom.reset_key(name) for name in names])
        reset = dict(zip(visitors.tolist(), replies, strict=True))
        filters = _filters(_since(acts, reset))
        with client.pipeline(transaction=False) as pipeline:
            for visitor, days in filters.items():
                name = acts.names[visitor]
                keys = bloom.seen_keys(name, [day for day, _ in days])
                arguments = [
                    value for day, bits in days for value in (bits, bloom.expiry(day, kept, zone))
                ]
                script(
                    keys=[bloom.reset_key(name), _SCRATCH, *keys],
                    args=[reset[visitor] or b"", *arguments],
                    client=pipeline,
                )
            results = pipeline.execute(raise_on_error=False)
        again = []
        for (visitor, days), result in zip(filters.items(), results, strict=True):
            if isinstance(result, redis.RedisError):
                if "WRONGTYPE" not in str(result):
                    raise result
                refused += 1
            elif result:
                written += len(days)
            else:
                again.append(visitor)
        # reset meanwhile: choose their events anew
        acts = acts.rows(np.isin(acts.visitor, again))
    return written, refused


def _since(acts: _Acts, reset: Mapping[int, bytes | None]) -> _Acts:
    """Return the events from each visitor's last reset on."""
    since = {visitor: int(reply) for visitor, reply in reset.items() if reply}
    if not since:
        return acts
    earliest = [since.get(visitor, 0) for visitor in acts.visitor.tolist()]
    return acts.rows(acts.last >= np.array(earliest, np.int64))


def _filters(acts: _Acts) -> dict[int, list[tuple[str, bytes]]]:
    """Return visitor → (day of the key, bits) of each of its days."""
    first = _starts(acts.visitor, acts.day)
    of_row = np.repeat(np.arange(len(first)), np.diff([*first, len(acts.visitor)]))
    bits = np.zeros((len(first), bloom.BITS), bool)
    bits[of_row[:, None], bloom.positions_of(acts.prints)] = True
    packed = np.packbits(bits, axis=1)
    found: dict[int, list[tuple[str, bytes]]] = {}
    for visitor, day, row in zip(
        acts.visitor[first].tolist(), acts.day[first].tolist(), packed, strict=True
    ):
        found.setdefault(visitor, []).append((bloom.key_day(day), row.tobytes()))
    return found
