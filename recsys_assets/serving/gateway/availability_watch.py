"""What must not be shown, as the gateway last heard it: asked of the store every half second, kept
while it is away.
"""

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
    """Polls in a thread, so that a slow store holds up no answer."""

    def __init__(self, unavailable: Unavailable, metrics: Metrics):
        self._unavailable, self._lock = unavailable, asyncio.Lock()
        metrics.availability_age.set_function(
            lambda: float("nan") if self.age_seconds is None else self.age_seconds
        )

    @property
    def known(self) -> bool:
        return self._unavailable.known

    @property
    def statuses(self) -> Mapping[str, str]:
        """Item id → out_of_stock or hidden."""
        return self._unavailable.statuses

    @property
    def age_seconds(self) -> float | None:
        """Since the store last answered; None before it did."""
        return self._unavailable.age_seconds

    async def poll(self) -> None:
        """Ask now; what was known stays where the store does not answer."""
        try:
            async with self._lock:
                await asyncio.to_thread(self._unavailable.poll)
        except UNANSWERED as error:
            logger.debug(
                "availability: %s", error
            )  # its age is a metric, and the store's state one of readiness

    async def keep(self) -> None:
        """Poll until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.poll()

    def close(self) -> None:
        self._unavailable.close()
