"""Poll which items must not be shown; an outage keeps what was read last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from recsys_assets.lib.feature_store.valkey import STORE_ERRORS
from recsys_assets.serving.gateway.metrics import Metrics
from recsys_assets.serving.stores.availability import Unavailable
from recsys_assets.serving.stores.connections import StoreUnavailable

logger = logging.getLogger(__name__)

EVERY = 0.5  # seconds

UNANSWERED: tuple[type[Exception], ...] = (*STORE_ERRORS, StoreUnavailable)


class AvailabilityWatch:
    """Polls the store in a thread, so that a slow store delays no answer.

    Args:
        unavailable: what is polled; ``close`` closes it.
        metrics: get the age of the last successful poll.
    """

    def __init__(self, unavailable: Unavailable, metrics: Metrics) -> None:
        self._unavailable, self._lock = unavailable, asyncio.Lock()
        metrics.availability_age.set_function(
            lambda: float("nan") if self.age_seconds is None else self.age_seconds
        )

    @property
    def known(self) -> bool:
        """Return whether the items were ever read."""
        return self._unavailable.known

    @property
    def statuses(self) -> Mapping[str, str]:
        """Return item id → out_of_stock or hidden."""
        return self._unavailable.statuses

    @property
    def age_seconds(self) -> float | None:
        """Return the seconds since the last successful poll; None before the first."""
        return self._unavailable.age_seconds

    async def poll(self) -> None:
        """Poll once; a store that does not answer changes nothing."""
        try:
            async with self._lock:
                await asyncio.to_thread(self._unavailable.poll)
        except UNANSWERED as error:
            # a metric shows the age, and /readyz the state of the store
            logger.debug("availability: %s", error)

    async def keep(self) -> None:
        """Poll until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.poll()

    def close(self) -> None:
        """Close the connections."""
        self._unavailable.close()
