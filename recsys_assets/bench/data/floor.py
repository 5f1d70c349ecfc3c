"""Part: measure the physical floor of the features part.

Polars reads and writes the same Parquet bytes and does nothing else. Each file that the features
part reads from the landing zone, and each that it publishes, counts once. What it reads again (its
own output, the day before for the look-back, users and items every day) is no part of the floor.
That time is measured apart, once per file and day.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets import partitions
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.bench.harness.part import main
from recsys_assets.lib.landing.zone import INTERACTIONS_FOLDER
from recsys_assets.settings import get_settings

PUBLISHED = ("raw/interactions", "features/interactions", "features/masked_train")


class Stopwatch:
    """Measures seconds and bytes of reads or writes."""

    def __init__(self) -> None:
        self.seconds, self.bytes = 0.0, 0

    def read(self, path: Path) -> pl.DataFrame:
        """Read a Parquet file and add its time and size."""
        started = time.perf_counter()
        frame = pl.read_parquet(path)
        self.seconds += time.perf_counter() - started
        self.bytes += path.stat().st_size
        return frame

    def write(self, frame: pl.DataFrame, path: Path) -> None:
        """Write a Parquet file and add its time and size."""
        started = time.perf_counter()
        frame.write_parquet(path)
        self.seconds += time.perf_counter() - started
        self.bytes += path.stat().st_size

    def figures(self) -> dict[str, float]:
        """Return seconds and bytes."""
        return {"seconds": self.seconds, "bytes": self.bytes}


def parquet_files(artifact: Artifact) -> list[Path]:
    """Return the Parquet files of an artifact."""
    return [
        artifact.path(name)
        for name in sorted(artifact.manifest["files"])
        if name.endswith(".parquet")
    ]


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Read and write the files of the features part and measure it.

    Args:
        request: ``scratch``, an empty folder on the artifacts' disk.
    """
    settings, scratch = get_settings(), Path(request["scratch"])
    store = ArtifactStore(settings.artifacts)
    read, write, again = Stopwatch(), Stopwatch(), Stopwatch()
    shop = [
        store.current("raw/users").path("users.parquet"),
        store.current("raw/items").path("items.parquet"),
    ]
    yesterday: list[Path] = []
    for day in partitions.history_days(settings):
        for path in sorted(Path(settings.landing, INTERACTIONS_FOLDER, day).glob("*.parquet")):
            read.read(path)
        for path in shop:
            (again if yesterday else read).read(path)
        for path in yesterday:
            again.read(path)
        for kind in PUBLISHED:
            for path in parquet_files(store.current(kind, day)):
                write.write(again.read(path), scratch / path.name)
                (scratch / path.name).unlink()
        yesterday = [store.current("raw/interactions", day).path("interactions.parquet")]
    return {
        "seconds": read.seconds + write.seconds,
        "bytes": read.bytes + write.bytes,
        "read": read.figures(),
        "write": write.figures(),
        "reread": again.figures(),
    }


if __name__ == "__main__":
    main(body)
