"""Log what is answered, without that an answer waits for the log.

A record is put into a bounded queue. A task takes the queue's records every second and writes them
to a stream in a thread. While the store is away they wait; what does not fit is dropped and
counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from recsys_assets.lib.feature_store.valkey import STORE_ERRORS, visitor_client
from recsys_assets.serving.events.log_stream import LogStream, pack
from recsys_assets.serving.gateway.metrics import ENDED, QUEUE_FULL, STREAM_FULL, LogCounters
from recsys_assets.settings import VISITOR_DATABASE, Settings

logger = logging.getLogger(__name__)

W = TypeVar("W")

EVERY = 1.0  # seconds
#: Records that wait at most, and records of one entry at most.
QUEUE, BATCH = 10_000, 500
#: Limit of one call of the store. No answer waits for it.
STORE_LIMIT_MS = 1_000


class StreamLog(Generic[W]):
    """The queue of a log, and what writes it.

    A subclass puts records into the queue, and gives the fields of each when it is written.

    Args:
        settings: name the store.
        stream: that carries the log.
        what: the records are, for messages.
        counters: of logged and dropped records.
    """

    def __init__(
        self, settings: Settings, stream: LogStream[Any], what: str, counters: LogCounters
    ) -> None:
        self._stream, self._what, self._counters = stream, what, counters
        self._client = visitor_client(settings, VISITOR_DATABASE, timeout_ms=STORE_LIMIT_MS)
        self._queue: deque[W] = deque()
        self._batch: list[W] = []  # taken from the queue, and not yet written
        self._away = False
        self._end = asyncio.Event()

    def fields(self, waiting: W) -> Mapping[str, Any]:
        """Return the fields of a record."""
        raise NotImplementedError

    def put(self, waiting: W) -> None:
        """Put a record into the queue; never waits and never raises."""
        self._queue.append(waiting)

    def has_room(self) -> bool:
        """Return whether the queue takes one more record; count the record if not."""
        if len(self._queue) < QUEUE:
            return True
        self._counters.dropped[QUEUE_FULL].inc()
        return False

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
            self._counters.dropped[ENDED].inc(lost)
            logger.warning("%d %s are not logged: the store did not take them", lost, self._what)
        self._client.close()

    def _write(self) -> bool:
        """Write the next records as one entry; return whether the store took or refused them.

        A batch that may have been written is written again: the day keeps each id once.
        """
        while self._queue and len(self._batch) < BATCH:
            self._batch.append(self._queue.popleft())
        count = len(self._batch)
        stream = self._stream
        try:
            if int(self._client.xlen(stream.name)) >= stream.length:  # type: ignore[arg-type]
                self._counters.dropped[STREAM_FULL].inc(count)
            else:
                content = pack([self.fields(one) for one in self._batch])
                self._client.xadd(stream.name, {stream.field: content})
                self._counters.logged.inc(count)
        except STORE_ERRORS as error:
            if not self._away:
                logger.warning("the log of %s waits for the store: %s", self._what, error)
            self._away = True
            return False
        self._away = False
        self._batch = []
        return True
