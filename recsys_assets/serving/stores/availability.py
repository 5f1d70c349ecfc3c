"""Read and change which items must not be shown: out of stock, or hidden.

Valkey holds a hash with the unavailable items and a counter of the changes. A process that polls
reads the hash only if the counter has changed.
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
#: Fields per HSCAN step: a long hash must block neither the server nor this process.
_STEP, _ATTEMPTS = 500, 5


def availability_commands(pipeline: Any, changes: Mapping[str, Availability]) -> None:
    """Queue the commands that change the availability of items.

    Run them as one transaction. Unknown ids are stored too, because a later catalogue may have
    them.

    Args:
        pipeline: of ``redis`` or of ``redis.asyncio``.
        changes: item id → new state.

    Raises:
        ValueError: a state is unknown; the message names the item.
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
    """Change items' availability, all or none, and return the number of the change.

    Args:
        client: of POPULARITY_DATABASE.
        changes: item id → new state.

    Raises:
        ValueError: a state is unknown.
        redis.RedisError: nothing is changed, or the reply was lost.
    """
    with client.pipeline(transaction=True) as pipeline:
        availability_commands(pipeline, changes)
        return int(pipeline.execute()[-1])


class Unavailable:
    """Holds the items that must not be shown, as last read from Valkey.

    Call ``poll`` at intervals; an outage keeps the last items. ``statuses`` (item id →
    "out_of_stock" or "hidden") is replaced as a whole and never changed in place.
    """

    def __init__(self, settings: Settings) -> None:
        self._client = visitor_client(settings, POPULARITY_DATABASE, timeout_ms=TIMEOUT_MS)
        self._breaker = Breaker()
        self._version: bytes | None = None
        self._read_at: float | None = None
        self.statuses: Mapping[str, str] = MappingProxyType({})

    @property
    def known(self) -> bool:
        """Return whether the items were ever read."""
        return self._read_at is not None

    @property
    def age_seconds(self) -> float | None:
        """Return the seconds since the last successful poll; None before the first."""
        return None if self._read_at is None else time.monotonic() - self._read_at

    def poll(self) -> None:
        """Read the items again if they have changed.

        Raises:
            StoreUnavailable: the store did not answer, or holds values of other types. The items
                read before stay in use.
        """
        self._breaker.call(self._poll)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _stamp(self) -> bytes | None:
        """Read the counter of changes."""
        return cast("bytes | None", self._client.get(VERSION))

    def _poll(self) -> None:
        """Read the hash until the counter is the same before and after."""
        version = self._stamp()
        for _ in range(_ATTEMPTS):
            if self.known and version == self._version:
                break
            statuses = self._statuses()
            before, version = version, self._stamp()
            if before == version:  # else a change during the scan may have been missed
                self.statuses, self._version = MappingProxyType(statuses), version
                break
        else:
            raise StoreUnavailable(f"{UNAVAILABLE} changes faster than it is read")
        self._read_at = time.monotonic()

    def _statuses(self) -> dict[str, str]:
        """Read the hash in steps."""
        pairs = self._client.hscan_iter(UNAVAILABLE, count=_STEP)
        # an unknown value also means: do not show the item
        return {
            item_id.decode("utf-8", "replace"): HIDDEN if state == HIDDEN.encode() else OUT_OF_STOCK
            for item_id, state in pairs
        }
