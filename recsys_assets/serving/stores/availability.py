"""Which items must not be shown now: out of stock, or hidden by the shop. Kept in Valkey, known to
every process.

A hash says what is not available, a counter how often it was changed, so that whoever polls reads
the hash only then.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

import redis

from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.serving.stores.connections import Breaker, StoreUnavailable
from recsys_assets.serving.stores.poller import TIMEOUT_MS
from recsys_assets.settings import POPULARITY_DATABASE, Settings

UNAVAILABLE, VERSION = "items:unavailable", "items:unavailable:version"
AVAILABLE, OUT_OF_STOCK, HIDDEN = "available", "out_of_stock", "hidden"
Availability = Literal["available", "out_of_stock", "hidden"]
#: Fields a step of reading the hash, so that a long one holds neither the server nor this process
#: up.
_STEP, _ATTEMPTS = 500, 5


def availability_commands(pipeline: Any, changes: Mapping[str, Availability]) -> None:
    """Queue the commands that change items' availability, on a pipeline of ``redis`` or of
    ``redis.asyncio``.

    Run them as one transaction. Unknown ids are kept too: a catalogue that has them one day does
    not show them.

    Raises:
        ValueError: a state that is none, naming the item.
    """
    for item_id, state in changes.items():
        if state not in get_args(Availability):
            raise ValueError(
                f"{item_id!r} must be one of {', '.join(get_args(Availability))}, got {state!r}"
            )
    back = [item_id for item_id, state in changes.items() if state == AVAILABLE]
    gone = {item_id: state for item_id, state in changes.items() if state != AVAILABLE}
    if back:
        pipeline.hdel(UNAVAILABLE, *back)
    if gone:
        pipeline.hset(UNAVAILABLE, mapping=gone)
    pipeline.incr(VERSION)


def set_availability(client: redis.Redis, changes: Mapping[str, Availability]) -> int:
    """Change items' availability, all or none; returns the number of the change.

    Args:
        client: of POPULARITY_DATABASE.

    Raises:
        ValueError: a state that is none. redis.RedisError: nothing is changed, or the answer got
            lost.
    """
    with client.pipeline(transaction=True) as pipeline:
        availability_commands(pipeline, changes)
        return int(pipeline.execute()[-1])


class Unavailable:
    """The items that must not be shown, as last read; an outage forgets none of them.

    Use: ``poll`` every so often; ``statuses`` (item id → "out_of_stock" or "hidden") is replaced
    whole, never changed.
    """

    def __init__(self, settings: Settings):
        self._client = visitor_client(settings, POPULARITY_DATABASE, timeout_ms=TIMEOUT_MS)
        self._breaker = Breaker()
        self._version: bytes | None = None
        self._read_at: float | None = None
        self.statuses: Mapping[str, str] = MappingProxyType({})

    @property
    def known(self) -> bool:
        """Whether they were ever read."""
        return self._read_at is not None

    @property
    def age_seconds(self) -> float | None:
        """Since the last poll that worked."""
        return None if self._read_at is None else time.monotonic() - self._read_at

    def poll(self) -> None:
        """Read what has changed.

        Raises:
            StoreUnavailable: the store did not answer, or holds values of other types; what was
                known stays.
        """
        self._breaker.call(self._poll)

    def close(self) -> None:
        self._client.close()

    def _stamp(self) -> bytes | None:
        return cast("bytes | None", self._client.get(VERSION))

    def _poll(self) -> None:
        version = self._stamp()
        for _ in range(_ATTEMPTS):
            if self.known and version == self._version:
                break
            statuses = self._statuses()
            before, version = version, self._stamp()
            if before == version:  # else it was changed meanwhile, perhaps behind the reader
                self.statuses, self._version = MappingProxyType(statuses), version
                break
        else:
            raise StoreUnavailable(f"{UNAVAILABLE} changes faster than it is read")
        self._read_at = time.monotonic()

    def _statuses(self) -> dict[str, str]:
        pairs = self._client.hscan_iter(UNAVAILABLE, count=_STEP)
        # whatever else somebody wrote there: the item is not to be shown
        return {
            item_id.decode("utf-8", "replace"): HIDDEN if state == HIDDEN.encode() else OUT_OF_STOCK
            for item_id, state in pairs
        }
