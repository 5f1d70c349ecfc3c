"""Buffer events and write them into the landing zone, one Parquet file per day.

Each file is written atomically.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import fsspec
import polars as pl

from recsys_assets.columns import ARRIVED, ARRIVED_INTERACTIONS, CLICK, REQUEST_ID
from recsys_assets.lib.landing.arrivals import stream_seconds
from recsys_assets.lib.landing.zone import INTERACTIONS_FOLDER
from recsys_assets.local_time import UTC, day_of
from recsys_assets.serving.events.events import Event

SCHEMA = {name: getattr(pl, dtype) for name, dtype in ARRIVED_INTERACTIONS.items()}
#: For files with an event that names its answer.
WITH_REQUESTS = {**SCHEMA, REQUEST_ID: pl.String}


class LandingBuffer:
    """Entries that are applied but not yet on disk.

    Acknowledge an entry only after ``write``.

    Args:
        root: the landing zone, a folder or an fsspec address.
        zone: time zone of the days.
    """

    def __init__(self, root: str, zone: str = UTC) -> None:
        self._root, self._zone = root.rstrip("/"), zone
        self._entries: list[tuple[str, Event]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, stream_id: str, event: Event) -> None:
        """Add an applied entry."""
        self._entries.append((stream_id, event))

    def clear(self) -> None:
        """Drop all entries."""
        self._entries.clear()

    def write(self) -> list[str]:
        """Write the buffered events and return their stream ids.

        The files are ``interactions/<day of the event>/events-<first stream id>.parquet``. Name and
        bytes follow from the entries, so that a repetition after a crash replaces the same files.
        An event arrived when the stream took it, which is the time in its stream id.
        """
        days: dict[str, list[tuple[str, Event]]] = defaultdict(list)
        for stream_id, event in self._entries:
            days[day_of(event.timestamp, self._zone)].append((stream_id, event))
        for day, entries in sorted(days.items()):
            rows = [
                {**event.model_dump(), CLICK: event.click, ARRIVED: stream_seconds(stream_id)}
                for stream_id, event in entries
            ]
            name = f"events-{entries[0][0]}.parquet"
            named = any(event.request_id is not None for _, event in entries)
            frame = pl.DataFrame(rows, schema=WITH_REQUESTS if named else SCHEMA)
            write_file(frame, self._root, f"{INTERACTIONS_FOLDER}/{day}", name)
        written = [stream_id for stream_id, _ in self._entries]
        self._entries.clear()
        return written


def write_file(frame: pl.DataFrame, root: str, folder: str, name: str) -> None:
    """Write one file of the landing zone atomically.

    Args:
        frame: the rows.
        root: the landing zone, a folder or an fsspec address.
        folder: below the root.
        name: of the file.
    """
    if "://" in root:  # an object store writes an object whole or not at all
        with fsspec.open(f"{root}/{folder}/{name}", "wb") as stream:
            frame.write_parquet(stream)
        return
    directory = Path(root) / folder
    directory.mkdir(parents=True, exist_ok=True)
    # not *.parquet, so that no reader takes a half-written file
    temporary = directory / f".{name}.part"
    with open(temporary, "wb") as stream:
        frame.write_parquet(stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, directory / name)
