"""Consume events: stream → visitor state, Feast → landing zone → acknowledgement.

    python -m recsys_assets.serving.events.consumer [--name consumer-0]

An entry is acknowledged only when its row is in the landing zone. Until then it stays in the
group's list of pending entries, which is read first at every start and after every outage. Applying
and landing are idempotent, so that a crash at any point loses nothing and repeats nothing.
"""

from __future__ import annotations

import argparse
import logging
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from typing import cast

import redis
from pydantic import ValidationError
from redis.typing import EncodableT, FieldT

from recsys_assets.columns import INTEREST_EVENTS, MISSING
from recsys_assets.lib.feature_store.click_history import push_merged
from recsys_assets.lib.feature_store.store import open_store
from recsys_assets.lib.feature_store.valkey import visitor_client
from recsys_assets.lib.feature_store.views import USER_ACTIVITY_PUSH, FeatureStoreError
from recsys_assets.partitions import time_zone
from recsys_assets.serving.events.ads_consumer import AdLabelConsumer, AdPredictionConsumer
from recsys_assets.serving.events.events import GROUP, REJECTED, STREAM, Event, Reset, parse_entry
from recsys_assets.serving.events.landing import LandingBuffer
from recsys_assets.serving.events.log_consumer import LogLanding
from recsys_assets.serving.events.served_consumer import ServedConsumer
from recsys_assets.serving.events.stream_group import Entry, StreamGroup
from recsys_assets.serving.events.visitor_state import Outcome, VisitorState
from recsys_assets.serving.published.display import LiveDisplay
from recsys_assets.settings import VISITOR_DATABASE, Settings, get_settings

logger = logging.getLogger(__name__)

BATCH, BLOCK_MS = 200, 200
DEFINITIONS_PAUSE = 2.0  # seconds between looks for Feast's definitions
LAND_EVENTS, LAND_SECONDS = 500, 3.0
#: No request waits for these calls. The limit ends a call to a server that hangs.
STORE_LIMIT_MS = 5_000
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class Consumer:
    """One member of the consumer group.

    Args:
        settings: of the home.
        name: stable over restarts and unique in the group: a restarted consumer finds its own
            pending entries by it.
        stop: set it to end ``run`` after everything that was read is landed.

    Raises:
        FeatureStoreError: Feast's definitions were not applied.
    """

    def __init__(self, settings: Settings, name: str, stop: threading.Event) -> None:
        self._stop = stop
        self._client = visitor_client(settings, VISITOR_DATABASE, timeout_ms=STORE_LIMIT_MS)
        self._group = StreamGroup(self._client, STREAM, GROUP, name, BATCH)
        self._look_back_days = settings.look_back_days
        self._state = VisitorState(
            self._client, settings.kept_seen_days, time_zone(settings), self._look_back_days
        )
        self._display = LiveDisplay(settings)
        self._buffer = LandingBuffer(settings.landing, time_zone(settings))
        self._landed_at = time.monotonic()
        self._store = open_store(settings, online_only=True, timeout_ms=STORE_LIMIT_MS)
        if USER_ACTIVITY_PUSH not in {source.name for source in self._store.list_data_sources()}:
            raise FeatureStoreError(
                f"Feast's registry has no push source {USER_ACTIVITY_PUSH}: materialise "
                "feature_store/definitions first"
            )

    def run(self) -> None:
        """Consume until stopped; wait while Valkey is not available."""
        pause, away = FIRST_PAUSE, False
        while not self._stop.is_set():
            try:
                self.recover()
                if away:
                    logger.warning("Valkey answers again; consuming")
                pause, away = FIRST_PAUSE, False
                while not self._stop.is_set():
                    self.step()
                    if (
                        len(self._buffer) >= LAND_EVENTS
                        or time.monotonic() - self._landed_at >= LAND_SECONDS
                    ):
                        self.land()
                self.land()
            except redis.RedisError as error:
                if not away:
                    logger.warning(
                        "Valkey is not available (%s: %s); trying again until it is",
                        type(error).__name__,
                        error,
                    )
                away = True
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def recover(self) -> None:
        """Make the group if there is none, then apply and land the pending entries.

        Pending entries were delivered before and not acknowledged.
        """
        self._group.make()
        self._buffer.clear()
        last = "0"
        while entries := self._group.read(last):
            self._apply(entries)
            last = entries[-1][0].decode()
        # land before new entries are read, so that a landing that a crash cut off is written again
        # with the same rows
        self.land()

    def step(self) -> None:
        """Read and apply the next new entries; wait BLOCK_MS for one."""
        self._apply(self._group.read(">", BLOCK_MS))

    def _apply(self, entries: Sequence[Entry]) -> None:
        """Apply events and resets in their order."""
        now, catalogue = time.time(), self._display.current().items
        known: list[tuple[str, Event, str]] = []
        for raw_id, fields in entries:
            entry = self._parse(raw_id, fields)
            if isinstance(entry, Event):
                known.append(
                    (
                        raw_id.decode(),
                        entry,
                        catalogue.get(entry.item_id, {}).get("category_l1", MISSING),
                    )
                )
            elif entry is not None:
                self._apply_events(known, now)
                self._apply_reset(raw_id.decode(), entry, now)
                known = []
        self._apply_events(known, now)

    def _apply_reset(self, stream_id: str, reset: Reset, now: float) -> None:
        """Reset the visitor state, then Feast.

        A reset that is delivered again forgets nothing that came after it.
        """
        try:
            outcome, row = self._state.reset(stream_id, reset, now)
        except redis.ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            logger.error(
                "reset %s of user %s is skipped: a key of the visitor holds another type (%s)",
                reset.event_id,
                reset.user_id,
                error,
            )
        else:
            if outcome is not Outcome.DUPLICATE:
                push_merged(self._store, [row], now, self._look_back_days)
        self._client.xack(STREAM, GROUP, stream_id)

    def _apply_events(self, known: Sequence[tuple[str, Event, str]], now: float) -> None:
        """Apply events to the visitor state and to Feast, then buffer them for landing."""
        if not known:
            return
        outcomes = self._state.apply(known, now)
        active = {event.user_id for _, event, _ in known if event.event_type in INTEREST_EVENTS}
        push_merged(
            self._store, self._state.recent_clicks(sorted(active), now), now, self._look_back_days
        )
        for (stream_id, event, _), outcome in zip(known, outcomes, strict=True):
            if outcome is Outcome.DUPLICATE:
                self._client.xack(STREAM, GROUP, stream_id)
                continue
            if isinstance(outcome, redis.ResponseError):
                logger.error(
                    "event %s of user %s lands but is not applied: a key of the visitor holds "
                    "another type (%s)",
                    event.event_id,
                    event.user_id,
                    outcome,
                )
            self._buffer.add(stream_id, event)

    def _parse(self, raw_id: bytes, fields: Mapping[bytes, bytes] | None) -> Event | Reset | None:
        """Return the event or reset of an entry; None if it is invalid.

        An invalid entry is moved to ``events:rejected``.
        """
        fields = fields or {}  # None: the stream was trimmed beyond a pending entry
        try:
            return parse_entry(fields)
        except (ValidationError, UnicodeDecodeError) as error:
            logger.error(
                "stream entry %s is invalid and moved to %s: %s", raw_id.decode(), REJECTED, error
            )
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.xadd(
                    REJECTED,
                    cast("dict[FieldT, EncodableT]", {**fields, b"stream_id": raw_id}),
                    maxlen=10_000,
                )
                pipeline.xack(STREAM, GROUP, raw_id)
                pipeline.execute()
            return None

    def land(self) -> None:
        """Write the buffered rows, then acknowledge their entries."""
        written = self._buffer.write()
        self._landed_at = time.monotonic()
        if written:
            self._client.xack(STREAM, GROUP, *written)


def main() -> None:
    """Run the consumer until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m recsys_assets.serving.events.consumer", description=__doc__
    )
    parser.add_argument(
        "--name", default="consumer-0", help="stable over restarts, unique in the group"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    logger.info("%s is up", arguments.name)
    logs = [
        LogLanding(of_log(get_settings(), arguments.name, stop), stop)
        for of_log in (ServedConsumer, AdPredictionConsumer, AdLabelConsumer)
    ]
    for log in logs:
        log.start()
    try:
        consumer = _when_defined(get_settings(), arguments.name, stop)
        if consumer is not None:
            logger.info("consuming as %s", arguments.name)
            consumer.run()
    finally:
        stop.set()
        for log in logs:
            log.join()
    if failed := [log.name for log in logs if log.failed]:
        raise SystemExit(f"{', '.join(failed)} could not be landed: the cause is above")
    logger.info("stopped; everything read is landed")


def _when_defined(settings: Settings, name: str, stop: threading.Event) -> Consumer | None:
    """Return the consumer once Feast has its views; None if stopped before that.

    A fresh home has no views yet.
    """
    warned = False
    while not stop.is_set():
        try:
            return Consumer(settings, name, stop)
        except FeatureStoreError as error:
            if not warned:
                logger.warning("waiting; events stay in the stream meanwhile: %s", error)
                warned = True
            stop.wait(DEFINITIONS_PAUSE)
    return None


if __name__ == "__main__":
    main()
