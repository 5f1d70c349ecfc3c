"""Show the figures of the monitor of ads in the gateway's metrics.

The monitor runs elsewhere and writes one key of the store. The gateway reads it every few seconds;
while there is none, the metrics have no figures, and an outage keeps those that were read last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import redis.asyncio
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict, ValidationError

from recsys_assets.lib.feature_store.valkey import STORE_ERRORS

logger = logging.getLogger(__name__)

KEY = "ads:monitor"
EVERY = 3.0  # seconds


class AdsMonitorFigures(BaseModel):
    """What the monitor writes.

    Attributes:
        release: that is monitored.
        rolling_auc: ROC-AUC of the latest labelled predictions; None: too few.
        loss: their mean log loss; None: too few.
        labelled: labelled predictions that the monitor has read.
        waiting: predictions without a label.
        alarms: that it has raised.
        threshold: of the ROC-AUC; None: not set.
        at: unix seconds.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    release: int | None
    rolling_auc: float | None
    loss: float | None
    labelled: int
    waiting: int
    alarms: int
    threshold: float | None
    at: float


class AdsMonitorWatch(Collector):
    """Polls the key and gives its figures to Prometheus.

    Args:
        registry: of the gateway's metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.figures: AdsMonitorFigures | None = None
        self._warned, self._end = False, asyncio.Event()
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the figures that are known."""
        read = self.figures
        if read is None:
            return
        for name, text, value in (
            ("rolling_auc", "ROC-AUC of the latest labelled predictions.", read.rolling_auc),
            ("auc_threshold", "ROC-AUC below which the monitor alarms.", read.threshold),
            ("loss", "Mean log loss of the latest labelled predictions.", read.loss),
            ("waiting", "Predictions that wait for a label.", read.waiting),
            ("monitored_release", "The release that the monitor judges.", read.release),
            ("monitor_timestamp_seconds", "When the monitor wrote last.", read.at),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"recsys_ads_{name}", text, value)
        yield CounterMetricFamily(
            "recsys_ads_labelled", "Labelled predictions that the monitor read.", read.labelled
        )
        yield CounterMetricFamily(
            "recsys_ads_alarms", "Alarms that the monitor raised.", read.alarms
        )

    async def poll(self, client: redis.asyncio.Redis) -> None:
        """Read the key once; a missing or invalid value changes nothing."""
        try:
            content = await client.get(KEY)
            if content is not None:
                self.figures = AdsMonitorFigures.model_validate_json(content)
                self._warned = False
        except STORE_ERRORS as error:
            logger.debug("the monitor of ads: %s", error)
        except ValidationError as error:
            if not self._warned:
                logger.warning("%s has another form and is not shown: %s", KEY, error)
            self._warned = True

    def start(self, client: redis.asyncio.Redis) -> None:
        """Start the task that polls."""
        self._task = asyncio.create_task(self._keep(client))

    async def _keep(self, client: redis.asyncio.Redis) -> None:
        """Poll until closed."""
        while not self._end.is_set():
            await self.poll(client)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), EVERY)

    async def close(self) -> None:
        """End the polls; one in progress ends within the client's limit.

        The task is not cancelled, because the client can swallow a cancellation while it connects.
        """
        self._end.set()
        await self._task
