"""Events on their way into the landing zone: buffered, then one Parquet file a day, atomically."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path

import fsspec
import polars as pl

from recsys_assets.columns import CLICK, RAW_INTERACTIONS
from recsys_assets.serving.events.events import Event

SCHEMA = {name: getattr(pl, dtype) for name, dtype in RAW_INTERACTIONS.items()}


class LandingBuffer:
    """Entries that are applied but not yet on disk; an entry is acknowledged only after ``write``.

    Args:
        root: the landing zone, a folder or an fsspec address.
    """

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")
        self._entries: list[tuple[str, Event]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, stream_id: str, event: Event) -> None:
        self._entries.append((stream_id, event))

    def clear(self) -> None:
        self._entries.clear()

    def write(self) -> list[str]:
        """Write ``interactions/<day of the event>/events-<first stream id>.parquet``; returns the
        stream ids written.

        The name and bytes follow from the entries, so writing them again after a crash replaces the
        same files.
        """
        days: dict[str, list[tuple[str, Event]]] = defaultdict(list)
        for stream_id, event in self._entries:
            day = datetime.fromtimestamp(event.timestamp, tz=timezone.utc).date().isoformat()
            days[day].append((stream_id, event))
        for day, entries in sorted(days.items()):
            rows = [{**event.model_dump(), CLICK: event.click} for _, event in entries]
            name = f"events-{entries[0][0]}.parquet"
            self._write_file(pl.DataFrame(rows, schema=SCHEMA), f"interactions/{day}", name)
        written = [stream_id for stream_id, _ in self._entries]
        self._entries.clear()
        return written

    def _write_file(self, frame: pl.DataFrame, folder: str, name: str) -> None:
        if "://" in self._root:  # an object appears whole or not at all
            with fsspec.open(f"{self._root}/{folder}/{name}", "wb") as stream:
                frame.write_parquet(stream)
            return
        directory = Path(self._root) / folder
        directory.mkdir(parents=True, exist_ok=True)
        temporary = (
            directory / f".{name}.part"
        )  # not *.parquet: no reader takes a half-written file
        with open(temporary, "wb") as stream:
            frame.write_parquet(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, directory / name)
