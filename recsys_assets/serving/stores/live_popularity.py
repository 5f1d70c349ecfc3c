"""Hold the items that all visitors click now, read again every second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from recsys_assets.lib.feature_store.popular_now import most_clicked
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.recent import NOTHING_NOW
from recsys_assets.lib.sources.union import LISTED
from recsys_assets.serving.stores.connections import Breaker
from recsys_assets.serving.stores.poller import TIMEOUT_MS, Pause, Poller
from recsys_assets.settings import VISITOR_DATABASE, Settings

#: Items that a poll reads. More than LISTED, because the release may lack some of them, and because
#: Valkey orders equal counts by item id, while a list orders them by row.
READ = 1_000


class LivePopularity:
    """Keeps ``lists`` up to date with the online counts, in its own thread.

    ``lists`` (half-life in hours → rows, best first) is replaced as a whole. It is empty until the
    counts were read once. An outage keeps the last list.

    Args:
        settings: name the server.
        source: of the release.
        clock: unix seconds.
    """

    def __init__(
        self, settings: Settings, source: PopularNow, clock: Callable[[], float] = time.time
    ) -> None:
        self._client = visitor_client(settings, VISITOR_DATABASE, timeout_ms=TIMEOUT_MS)
        self._breaker, self._source, self._clock = Breaker(), source, clock
        self._poller = Poller("popular now", self._poll)
        self.lists: Mapping[int, np.ndarray] = NOTHING_NOW

    @property
    def refreshed_at(self) -> float:
        """Return when the list last equalled the online counts (Unix seconds; 0: never)."""
        return self._poller.refreshed_at

    def start(self) -> None:
        """Read the list, if the store answers, then start to read it again and again."""
        self.poll()
        self._poller.start()

    def poll(self) -> bool:
        """Read the list once and return whether the store answered."""
        return self._poller.poll()

    def close(self) -> None:
        """End the thread and close the connections."""
        self._poller.close()
        self._client.close()

    def _poll(self, pause: Pause) -> None:
        """Read the items of the highest counts.

        Raises:
            StoreUnavailable: the store did not answer, or the key holds another type.
        """
        half_life = self._source.half_life
        items, counts = self._breaker.call(
            lambda: most_clicked(self._client, half_life, self._clock(), READ)
        )
        self.lists = MappingProxyType({half_life: self._source.listed(items, counts)[:LISTED]})
