"""Land the log of answers: stream → ``served/<day>/served-<stream id>.parquet`` → acknowledgement.

It runs in a thread of the event consumer and works in the same way: an entry is acknowledged only
when its answers are in the landing zone, and pending entries are landed first after every start. So
a crash at any point loses nothing, and what it repeats replaces the same files.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from typing import cast

import polars as pl
import redis
from redis.typing import EncodableT, FieldT

from recsys_assets.columns import ARRIVED
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.landing.arrivals import stream_seconds
from recsys_assets.lib.landing.served_answers import FEATURES, SCHEMA, folder_of
from recsys_assets.local_time import day_of
from recsys_assets.partitions import time_zone
from recsys_assets.serving.events.landing import write_file
from recsys_assets.serving.events.served_log import GROUP, REJECTED, STREAM, ServedAnswer, unpack
from recsys_assets.serving.events.stream_group import Entry, StreamGroup
from recsys_assets.settings import VISITOR_DATABASE, Settings

logger = logging.getLogger(__name__)

BATCH, BLOCK_MS = 50, 500
LAND_ANSWERS, LAND_SECONDS = 5_000, 10.0
#: As the event consumer's: no request waits for these calls.
STORE_LIMIT_MS = 5_000
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class ServedConsumer:
    """One member of the group that lands answers.

    Args:
        settings: of the home. With ``served_log`` off, ``run`` ends when the stream is empty.
        name: stable over restarts and unique in the group.
        stop: set it to end ``run`` after everything that was read is landed.
    """

    def __init__(self, settings: Settings, name: str, stop: threading.Event) -> None:
        self._stop, self._on = stop, settings.served_log == "on"
        self._root, self._zone = settings.landing.rstrip("/"), time_zone(settings)
        self._client = visitor_client(settings, VISITOR_DATABASE, timeout_ms=STORE_LIMIT_MS)
        self._group = StreamGroup(self._client, STREAM, GROUP, name, BATCH)
        self._answers: list[tuple[str, ServedAnswer]] = []
        self._entries: list[str] = []  # stream ids of the buffered answers
        self._landed_at = time.monotonic()

    def run(self) -> None:
        """Land answers until stopped; wait while Valkey is not available."""
        pause, away = FIRST_PAUSE, False
        while not self._stop.is_set():
            try:
                if not self._on and not self._client.exists(STREAM):
                    return
                self.recover()
                if away:
                    logger.warning("Valkey answers again; landing answers")
                pause, away = FIRST_PAUSE, False
                while not self._stop.is_set():
                    more = self.step()
                    if (
                        len(self._answers) >= LAND_ANSWERS
                        or time.monotonic() - self._landed_at >= LAND_SECONDS
                        or not (more or self._on)
                    ):
                        self.land()
                    if not more and not self._on:
                        return
                self.land()
            except redis.RedisError as error:
                if not away:
                    logger.warning("Valkey is not available to the log of answers: %s", error)
                away = True
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def recover(self) -> None:
        """Make the group if there is none, then land the pending entries."""
        self._group.make()
        self._answers.clear()
        self._entries.clear()
        last = "0"
        while entries := self._group.read(last):
            self._take(entries)
            last = entries[-1][0].decode()
        # before new entries are read, so that a landing that a crash cut off writes the same rows
        self.land()

    def step(self) -> bool:
        """Read the next new entries; wait BLOCK_MS for one. Return whether there was one."""
        entries = self._group.read(">", BLOCK_MS)
        self._take(entries)
        return bool(entries)

    def land(self) -> None:
        """Write the buffered answers by local day, then acknowledge and delete their entries."""
        days: dict[str, list[tuple[str, ServedAnswer]]] = defaultdict(list)
        for stream_id, answer in self._answers:
            days[day_of(answer.at, self._zone)].append((stream_id, answer))
        for day, answers in sorted(days.items()):
            rows = [
                {
                    **answer.model_dump(),
                    FEATURES: answer.features and answer.features.model_dump_json(),
                    ARRIVED: stream_seconds(stream_id),
                }
                for stream_id, answer in answers
            ]
            frame = pl.DataFrame(rows, schema=SCHEMA)
            write_file(frame, self._root, folder_of(day), f"served-{answers[0][0]}.parquet")
        self._done(self._entries)
        self._answers.clear()
        self._entries.clear()
        self._landed_at = time.monotonic()

    def _done(self, stream_ids: list[str]) -> None:
        """Acknowledge entries and delete them: no other group reads this stream."""
        if stream_ids:
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.xack(STREAM, GROUP, *stream_ids)
                pipeline.xdel(STREAM, *stream_ids)
                pipeline.execute()

    def _take(self, entries: list[Entry]) -> None:
        """Buffer the answers of entries; set an invalid entry aside."""
        for raw_id, fields in entries:
            stream_id, fields = raw_id.decode(), fields or {}
            try:
                answers = unpack(fields)
            except ValueError as error:
                logger.error(
                    "entry %s of answers is invalid and moved to %s: %s", stream_id, REJECTED, error
                )
                rejected = {**fields, b"stream_id": raw_id}
                self._client.xadd(
                    REJECTED, cast("dict[FieldT, EncodableT]", rejected), maxlen=1_000
                )
                self._done([stream_id])
                continue
            self._answers += [(stream_id, answer) for answer in answers]
            self._entries.append(stream_id)


class ServedLanding(threading.Thread):
    """Runs a consumer in a thread; a fault of it stops the whole process, as one of events does.

    Args:
        settings: of the home.
        name: of the consumer.
        stop: of the process; is set after a fault, and ends the consumer.

    Attributes:
        failed: the consumer ended by a fault. Known when the thread has ended.
    """

    def __init__(self, settings: Settings, name: str, stop: threading.Event) -> None:
        super().__init__(name="served")
        self._consumer, self._end = ServedConsumer(settings, name, stop), stop
        self.failed = True

    def run(self) -> None:
        """Land answers until stopped."""
        try:
            self._consumer.run()
            self.failed = False
        finally:
            if self.failed:
                self._end.set()
