"""Log the answers of /recommend as they are given; see ``stream_log``."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from recsys_assets.columns import MISSING
from recsys_assets.serving.events.served_log import SERVED, is_sampled
from recsys_assets.serving.gateway.metrics import Metrics
from recsys_assets.serving.gateway.models import RecommendRequest
from recsys_assets.serving.gateway.recommender import Answered
from recsys_assets.serving.gateway.served_features import served_features
from recsys_assets.serving.gateway.stream_log import StreamLog
from recsys_assets.settings import Settings

_Waiting = tuple[str, str, int, RecommendRequest, Answered, dict[str, Any] | None]


class ServedLog(StreamLog[_Waiting]):
    """The log of answers.

    Args:
        settings: name the store and the share of visitors.
        metrics: count logged and dropped answers.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        super().__init__(settings, SERVED, "answers", metrics.served)
        self._share = settings.served_log_share
        self._name, self._count = uuid.uuid4().hex, 0

    def offer(
        self, request_id: str, asked: Sequence[RecommendRequest], answers: Sequence[Answered]
    ) -> None:
        """Put the answers of one call into the queue; never waits and never raises."""
        now = int(time.time())
        for request, answer in zip(asked, answers, strict=True):
            if not is_sampled(request.user_id, request_id, self._share) or not self.has_room():
                continue
            self._count += 1
            answer_id = f"{self._name}-{self._count:x}"
            # a trace is too large to wait in the queue
            read = None
            if answer.trace is not None:
                read = served_features(answer.trace, len(answer.item_ids))
            # the moment of the features: a new second may have begun since
            at = now if read is None or request.timestamp is not None else read["at"]
            self.put((answer_id, request_id, at, request, replace(answer, trace=None), read))

    def fields(self, waiting: _Waiting) -> dict[str, Any]:
        """Return the fields of ServedAnswer; those with their default are left out."""
        answer_id, request_id, at, request, answer, features = waiting
        made = answer.ranking
        fields = {
            "answer_id": answer_id,
            "request_id": request_id,
            "user_id": request.user_id,
            "at": at,
            "device_type": request.device_type or MISSING,
            "top_k": request.top_k,
            "item_ids": answer.item_ids,
            "scores": answer.scores,
        }
        if request.timestamp is not None:
            fields["context_at"] = request.timestamp
        if made is not None:
            fields |= {"query_release": made.query_release, "release": made.ranker_release}
            if made.propensities is not None:
                fields["propensities"] = made.propensities[: len(answer.item_ids)]
        if request.arm is not None:
            fields["arm"] = request.arm
        if answer.reasons:
            fields["reasons"] = answer.reasons
        if features is not None:
            fields["features"] = features
        return fields
