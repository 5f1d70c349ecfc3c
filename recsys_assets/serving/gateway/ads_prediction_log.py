"""Name the predictions for ads, and log them as they are given; see ``stream_log``."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from recsys_assets.lib.landing.ads_predictions import prediction_id
from recsys_assets.serving.events.ads_log import PREDICTIONS
from recsys_assets.serving.events.log_stream import is_within
from recsys_assets.serving.gateway.ads_client import AdFields, AdScores
from recsys_assets.serving.gateway.metrics import Metrics
from recsys_assets.serving.gateway.stream_log import StreamLog
from recsys_assets.settings import Settings

_Waiting = tuple[str, str, int, int, float, AdFields]


class PredictionIds:
    """Gives each prediction of this process an id, from which its moment follows."""

    def __init__(self) -> None:
        self._process, self._count = uuid.uuid4().hex, 0

    def take(self, at_ms: int, count: int) -> list[str]:
        """Return new ids for predictions of one moment, unix milliseconds."""
        first, self._count = self._count + 1, self._count + count
        return [prediction_id(at_ms, self._process, first + n) for n in range(count)]


class AdsPredictionLog(StreamLog[_Waiting]):
    """The log of predictions for ads.

    Args:
        settings: name the store and the share of calls.
        metrics: count logged and dropped predictions.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        super().__init__(settings, PREDICTIONS, "predictions for ads", metrics.ads_log)
        self._share = settings.ads_log_share

    def offer(
        self,
        request_id: str,
        ids: Sequence[str],
        at_ms: int,
        ads: Sequence[AdFields],
        made: AdScores,
    ) -> None:
        """Put the predictions of one call into the queue; never waits and never raises."""
        if not is_within(f"ads {request_id}", self._share):
            return
        for one, ad, score in zip(ids, ads, made.scores, strict=True):
            if self.has_room():
                self.put((one, request_id, at_ms, made.release, score, ad))

    def fields(self, waiting: _Waiting) -> dict[str, Any]:
        """Return the fields of AdPrediction."""
        one, request_id, at_ms, release, score, ad = waiting
        return {
            "prediction_id": one,
            "request_id": request_id,
            "at": at_ms / 1_000,
            "release": release,
            "score": score,
            "counts": ad.counts,
            "categories": ad.categories,
        }


def now_ms() -> int:
    """Return the wall clock, unix milliseconds."""
    return time.time_ns() // 1_000_000
