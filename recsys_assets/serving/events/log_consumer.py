"""Land a log of the gateway: stream → ``<folder>/<day>/<prefix>-<stream id>.parquet``.

It runs in a thread of the event consumer and works in the same way: an entry is acknowledged only
when its records are in the landing zone, and pending entries are landed first after every start. So
a crash at any point loses nothing, and what it repeats replaces the same files.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast

import polars as pl
import redis
from pydantic import BaseModel
from redis.typing import EncodableT, FieldT

from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.local_time import day_of
from recsys_assets.partitions import time_zone
from recsys_assets.serving.events.landing import write_file
from recsys_assets.serving.events.log_stream import LogStream
from recsys_assets.serving.events.stream_group import Entry, StreamGroup
from recsys_assets.settings import VISITOR_DATABASE, Settings

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=BaseModel)

BATCH, BLOCK_MS = 50, 500
LAND_RECORDS, LAND_SECONDS = 5_000, 10.0
#: As the event consumer's: no request waits for these calls.
STORE_LIMIT_MS = 5_000
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class LogConsumer(Generic[R]):
    """One member of the group that lands a log.

    A subclass names the stream and the folder, and turns records into rows.

    Args:
        settings: of the home.
        name: stable over restarts and unique in the group.
        stop: set it to end ``run`` after everything that was read is landed.

    Attributes:
        stream: of the log.
        folder: below the landing zone.
        prefix: of the names of files.
        on: whether records are written. If not, ``run`` ends when the stream is empty.
    """

    stream: ClassVar[LogStream[Any]]  # of R
    folder: ClassVar[str]
    prefix: ClassVar[str]

    def __init__(self, settings: Settings, name: str, stop: threading.Event) -> None:
        self._stop, self.on = stop, self.is_on(settings)
        self._root, self._zone = settings.landing.rstrip("/"), time_zone(settings)
        self._client = visitor_client(settings, VISITOR_DATABASE, timeout_ms=STORE_LIMIT_MS)
        self._group = StreamGroup(self._client, self.stream.name, self.stream.group, name, BATCH)
        self._records: list[tuple[str, R]] = []
        self._entries: list[str] = []  # stream ids of the buffered records
        self._landed_at = time.monotonic()

    @staticmethod
    @abstractmethod
    def is_on(settings: Settings) -> bool:
        """Return whether records are written."""

    @staticmethod
    @abstractmethod
    def moment(record: R) -> float:
        """Return the unix seconds whose local day a record belongs to."""

    @staticmethod
    @abstractmethod
    def frame(records: Sequence[tuple[str, R]]) -> pl.DataFrame:
        """Return the rows of (stream id, record)."""

    def run(self) -> None:
        """Land records until stopped; wait while Valkey is not available."""
        pause, away = FIRST_PAUSE, False
        while not self._stop.is_set():
            try:
                if not self.on and not self._client.exists(self.stream.name):
                    return
                self.recover()
                if away:
                    logger.warning("the log %s is landed again", self.stream.name)
                pause, away = FIRST_PAUSE, False
                while not self._stop.is_set():
                    more = self.step()
                    if (
                        len(self._records) >= LAND_RECORDS
                        or time.monotonic() - self._landed_at >= LAND_SECONDS
                        or not (more or self.on)
                    ):
                        self.land()
                    if not more and not self.on:
                        return
                self.land()
            except redis.RedisError as error:
                if not away:
                    logger.warning("the log %s waits for Valkey: %s", self.stream.name, error)
                away = True
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def recover(self) -> None:
        """Make the group if there is none, then land the pending entries."""
        self._group.make()
        self._records.clear()
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
        """Write the buffered records by local day, then acknowledge and delete their entries."""
        days: dict[str, list[tuple[str, R]]] = defaultdict(list)
        for stream_id, record in self._records:
            days[day_of(int(self.moment(record)), self._zone)].append((stream_id, record))
        for day, records in sorted(days.items()):
            write_file(
                self.frame(records),
                self._root,
                f"{self.folder}/{day}",
                f"{self.prefix}-{records[0][0]}.parquet",
            )
        self._done(self._entries)
        self._records.clear()
        self._entries.clear()
        self._landed_at = time.monotonic()

    def _done(self, stream_ids: list[str]) -> None:
        """Acknowledge entries and delete them: no other group reads this stream."""
        if stream_ids:
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.xack(self.stream.name, self.stream.group, *stream_ids)
                pipeline.xdel(self.stream.name, *stream_ids)
                pipeline.execute()

    def _take(self, entries: list[Entry]) -> None:
        """Buffer the records of entries; set an invalid entry aside."""
        for raw_id, fields in entries:
            stream_id, fields = raw_id.decode(), fields or {}
            try:
                records = cast("list[R]", self.stream.unpack(fields))
            except ValueError as error:
                logger.error(
                    "entry %s of %s is invalid and moved to %s: %s",
                    stream_id,
                    self.stream.name,
                    self.stream.rejected,
                    error,
                )
                rejected = {**fields, b"stream_id": raw_id}
                self._client.xadd(
                    self.stream.rejected, cast("dict[FieldT, EncodableT]", rejected), maxlen=1_000
                )
                self._done([stream_id])
                continue
            self._records += [(stream_id, record) for record in records]
            self._entries.append(stream_id)


class LogLanding(threading.Thread):
    """Runs a consumer in a thread; a fault of it stops the whole process, as one of events does.

    Args:
        consumer: of a log.
        stop: of the process; is set after a fault, and ends the consumer.

    Attributes:
        consumer: of the log.
        failed: the consumer ended by a fault. Known when the thread has ended.
    """

    def __init__(self, consumer: LogConsumer[Any], stop: threading.Event) -> None:
        super().__init__(name=consumer.stream.name)
        self.consumer, self._end = consumer, stop
        self.failed = True

    def run(self) -> None:
        """Land records until stopped."""
        try:
            self.consumer.run()
            self.failed = False
        finally:
            if self.failed:
                self._end.set()
