"""Hold what the gateway's routes share: connections, files, limits and metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import redis.asyncio
from fastapi import Request
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from recsys_assets.serving.events.served_log import has_features, is_sampled
from recsys_assets.serving.gateway.ads_client import MODEL as ADS_MODEL
from recsys_assets.serving.gateway.ads_client import AdsClient
from recsys_assets.serving.gateway.ads_monitor import AdsMonitorWatch
from recsys_assets.serving.gateway.ads_prediction_log import AdsPredictionLog, PredictionIds
from recsys_assets.serving.gateway.availability_watch import AvailabilityWatch
from recsys_assets.serving.gateway.images import LiveImages
from recsys_assets.serving.gateway.limits import Admission
from recsys_assets.serving.gateway.metrics import Metrics
from recsys_assets.serving.gateway.models import RecommendRequest
from recsys_assets.serving.gateway.recommender import Answered, PopularItems, Recommender
from recsys_assets.serving.gateway.served import ServedLog
from recsys_assets.serving.gateway.triton_client import RankingClient
from recsys_assets.serving.published.display import LiveDisplay
from recsys_assets.serving.published.similar import LiveSimilar
from recsys_assets.serving.stores.availability import Unavailable
from recsys_assets.settings import POPULARITY_DATABASE, VISITOR_DATABASE, Settings

#: Longer than a read's limit: a batch of 500 events is one transaction that must not be lost.
WRITE_MS = 1_000


def async_client(settings: Settings, database: int, timeout_ms: int) -> redis.asyncio.Redis:
    """Return a client without retries whose values are bytes.

    Connects and reads each end after ``timeout_ms``.
    """
    return redis.asyncio.Redis.from_url(
        settings.valkey_url(database),
        socket_timeout=timeout_ms / 1_000,
        socket_connect_timeout=timeout_ms / 1_000,
        retry=Retry(NoBackoff(), 0),
    )


class Parts:
    """The parts of one gateway; ``open`` connects them while the app serves.

    Args:
        settings: of the home.
        ranking: answers instead of Triton; ``open`` closes it.
        ads: the same for ads.
    """

    ranking: RankingClient
    visitors: redis.asyncio.Redis  # database 1, for writes
    catalogue: redis.asyncio.Redis  # database 3, for writes
    availability: AvailabilityWatch
    popular: PopularItems
    recommender: Recommender
    served: ServedLog | None  # None: answers are not logged
    ads: AdsClient
    ads_log: AdsPredictionLog | None  # None: predictions are not logged

    def __init__(
        self, settings: Settings, ranking: RankingClient | None = None, ads: AdsClient | None = None
    ) -> None:
        self.settings, self.metrics, self._given = settings, Metrics(), ranking
        self._given_ads, self.prediction_ids = ads, PredictionIds()
        self._ads_monitor = AdsMonitorWatch(self.metrics.registry)
        self.display, self.images, self.similar = (
            LiveDisplay(settings),
            LiveImages(settings),
            LiveSimilar(settings),
        )
        self.admission = Admission(
            settings.gateway_in_flight, settings.shed_after_ms / 1_000, self.metrics
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connect the parts, and close them at the end."""
        settings = self.settings
        address = f"{settings.triton_host}:{settings.triton_grpc_port}"
        self.ranking = self._given or RankingClient(
            address, settings.recommend_model, settings.triton_timeout_ms
        )
        self.ads = self._given_ads or AdsClient(address, ADS_MODEL, settings.triton_timeout_ms)
        popularity = async_client(settings, POPULARITY_DATABASE, settings.store_timeout_ms)
        self.visitors, self.catalogue = (
            async_client(settings, database, WRITE_MS)
            for database in (VISITOR_DATABASE, POPULARITY_DATABASE)
        )
        self.availability = AvailabilityWatch(Unavailable(settings), self.metrics)
        self.popular = PopularItems(popularity, self.availability)
        self.recommender = Recommender(
            self.ranking,
            self.popular,
            self.display,
            self.admission,
            self.metrics,
            self._has_features if self._logs_features else None,
        )
        self.served = ServedLog(settings, self.metrics) if settings.served_log == "on" else None
        self.ads_log = (
            AdsPredictionLog(settings, self.metrics) if settings.ads_log == "on" else None
        )
        logs = [log for log in (self.served, self.ads_log) if log is not None]
        await self.availability.poll()  # before the first answer
        watch = asyncio.create_task(self.availability.keep())
        self._ads_monitor.start(self.visitors)
        for log in logs:
            log.start()
        try:
            yield
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            await self._ads_monitor.close()
            for log in logs:
                await log.close()
            await self.ranking.close()
            await self.ads.close()
            for client in (popularity, self.visitors, self.catalogue):
                await client.aclose()
            self.availability.close()

    @property
    def _logs_features(self) -> bool:
        settings = self.settings
        return (
            settings.served_log == "on"
            and settings.served_features_share > 0
            and settings.triton_models != "ensemble"
        )

    def _has_features(self, user_id: str, request_id: str) -> bool:
        """Return whether an answer is logged with its features."""
        settings = self.settings
        return has_features(request_id, settings.served_features_share) and is_sampled(
            user_id, request_id, settings.served_log_share
        )

    def tell(
        self, request: Request, asked: Sequence[RecommendRequest], answers: list[Answered]
    ) -> None:
        """Record which release answered, why answers are degraded, and what was shown.

        Metrics and the log line of the request get the first two; the log of answers gets all.
        """
        reasons = [reason for answer in answers for reason in answer.reasons]
        for reason in reasons:
            self.metrics.degraded.labels(reason).inc()
        made = next((answer.ranking for answer in answers if answer.ranking is not None), None)
        if made is not None:
            self.metrics.query_release.set(made.query_release)
            self.metrics.ranker_release.set(made.ranker_release)
        request.state.answered = {
            "release": None
            if made is None
            else {"query": made.query_release, "ranker": made.ranker_release},
            "degraded": list(dict.fromkeys(reasons)),
        }
        if self.served is not None:
            self.served.offer(request.state.request_id, asked, answers)
