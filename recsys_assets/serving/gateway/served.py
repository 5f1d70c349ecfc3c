"""Log the answers as they are given, without that an answer waits for the log.

An answer is put into a bounded queue. A task takes the queue's answers every second and writes them
to the stream in a thread. While the store is away they wait; what does not fit is dropped and
counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from recsys_assets.columns import MISSING
from recsys_assets.lib.feature_store.valkey import STORE_ERRORS, visitor_client
from recsys_assets.serving.events.served_log import ANSWERS, STREAM, STREAM_LENGTH, is_sampled, pack
from recsys_assets.serving.gateway.metrics import ENDED, QUEUE_FULL, STREAM_FULL, Metrics
from recsys_assets.serving.gateway.models import RecommendRequest
from recsys_assets.serving.gateway.recommender import Answered
from recsys_assets.serving.gateway.served_features import served_features
from recsys_assets.settings import VISITOR_DATABASE, Settings

logger = logging.getLogger(__name__)

EVERY = 1.0  # seconds
#: Answers that wait at most, and answers of one entry at most.
QUEUE, BATCH = 10_000, 500
#: Limit of one call of the store. No answer waits for it.
STORE_LIMIT_MS = 1_000

_Waiting = tuple[str, str, int, RecommendRequest, Answered, dict[str, Any] | None]


class ServedLog:
    """The queue of answers, and what writes them.

    Args:
        settings: name the store and the share of visitors.
        metrics: count logged and dropped answers.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._share, self._metrics = settings.served_log_share, metrics
        self._client = visitor_client(settings, VISITOR_DATABASE, timeout_ms=STORE_LIMIT_MS)
        self._queue: deque[_Waiting] = deque()
        self._batch: list[_Waiting] = []  # taken from the queue, and not yet written
        self._name, self._count, self._away = uuid.uuid4().hex, 0, False
        self._end = asyncio.Event()

    def offer(
        self, request_id: str, asked: Sequence[RecommendRequest], answers: Sequence[Answered]
    ) -> None:
        """Put the answers of one call into the queue; never waits and never raises."""
        now = int(time.time())
        for request, answer in zip(asked, answers, strict=True):
            if not is_sampled(request.user_id, request_id, self._share):
                continue
            if len(self._queue) >= QUEUE:
                self._metrics.served_dropped[QUEUE_FULL].inc()
                continue
            self._count += 1
            answer_id = f"{self._name}-{self._count:x}"
            # a trace is too large to wait in the queue
            read = None
            if answer.trace is not None:
                read = served_features(answer.trace, len(answer.item_ids))
            # the moment of the features: a new second may have begun since
            at = now if read is None or request.timestamp is not None else read["at"]
            self._queue.append(
                (answer_id, request_id, at, request, replace(answer, trace=None), read)
            )

    def start(self) -> None:
        """Start the task that writes the queue."""
        self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """Write the queue every second until the end, then what is left."""
        while not self._end.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), EVERY)
            while self._queue or self._batch:
                if not await asyncio.to_thread(self._write):
                    break

    async def close(self) -> None:
        """Write what waits, count what the store does not take, and close the connection."""
        self._end.set()
        await self._task
        if lost := len(self._queue) + len(self._batch):
            self._metrics.served_dropped[ENDED].inc(lost)
            logger.warning("%d answers are not logged: the store did not take them", lost)
        self._client.close()

    def _write(self) -> bool:
        """Write the next answers as one entry; return whether the store took or refused them.

        A batch that may have been written is written again: the day keeps each answer id once.
        """
        while self._queue and len(self._batch) < BATCH:
            self._batch.append(self._queue.popleft())
        count = len(self._batch)
        try:
            if int(self._client.xlen(STREAM)) >= STREAM_LENGTH:  # type: ignore[arg-type]
                self._metrics.served_dropped[STREAM_FULL].inc(count)
            else:
                self._client.xadd(STREAM, {ANSWERS: pack([_fields(*one) for one in self._batch])})
                self._metrics.served_logged.inc(count)
        except STORE_ERRORS as error:
            if not self._away:
                logger.warning("the log of answers waits for the store: %s", error)
            self._away = True
            return False
        self._away = False
        self._batch = []
        return True


def _fields(
    answer_id: str,
    request_id: str,
    at: int,
    request: RecommendRequest,
    answer: Answered,
    features: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the fields of ServedAnswer; those with their default are left out."""
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
