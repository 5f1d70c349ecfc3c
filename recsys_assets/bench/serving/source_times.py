"""Worker: time each source of a release on its own, in the serving environment on one thread.

The requests' visitors are asked one after the other, and each visitor's sources in their order, so
that caches are as cold as between two sources of a request.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.bench.harness.worker import Command, serve
from recsys_assets.lib.sources.recent import Recent
from recsys_assets.lib.sources.stored import read_blend
from recsys_assets.lib.sources.union import LISTED, RETRIEVED

#: The row of all sources, their union and its order.
TOGETHER = "together"


def source_times(
    folder: Path, clicks: list[tuple[list[int], list[float]]], rounds: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return the median milliseconds per visitor and the MiB of the files of each source.

    The last row is TOGETHER. Nothing for a release without sources.

    Args:
        folder: of the stage ``candidate_sources``.
        clicks: of each visitor, rows of the vocabulary and hours, newest first.
        rounds: how often each visitor is asked, after once unmeasured.
        seed: of the retrieved items, which are drawn: no source reads them.
    """
    blend = read_blend(folder)
    if blend is None:
        return {}
    random, items = np.random.default_rng(seed), len(blend.young)
    retrieved = [random.integers(0, items, 2 * RETRIEVED) for _ in clicks]
    retrieved = [random.permutation(np.unique(drawn))[:RETRIEVED] for drawn in retrieved]
    laps: dict[str, list[float]] = {source.name: [] for source in blend.sources}
    laps[TOGETHER] = []
    for measured in range(rounds + 1):
        for (rows, hours), found in zip(clicks, retrieved, strict=True):
            # as of a request: what is computed once per visitor counts for the first that needs it
            own = np.array(rows, np.int64), np.array(hours, np.float32)
            recent = Recent(*own)
            seconds = {}
            for source in blend.sources:
                began = time.perf_counter()
                source.best(recent, LISTED)
                seconds[source.name] = time.perf_counter() - began
            recent = Recent(*own)
            began = time.perf_counter()
            blend.of(recent, found)
            seconds[TOGETHER] = time.perf_counter() - began
            if measured:
                for name, spent in seconds.items():
                    laps[name].append(spent)
    sizes = {
        source.name: sum(path.stat().st_size for path in folder.glob(f"{source.name}.*.npy"))
        for source in blend.sources
    }
    sizes[TOGETHER] = sum(sizes.values())
    return {
        name: {
            "p50_ms": round(float(np.median(values)) * 1e3, 4),
            "mib": round(sizes[name] / 2**20, 2),
        }
        for name, values in laps.items()
    }


def make(request: dict[str, Any]) -> dict[str, Command]:
    """Return the worker's commands.

    Args:
        request: ``folder``, ``clicks``, ``rounds``, ``seed``.
    """

    def times(order: dict[str, Any]) -> dict[str, dict[str, float]]:
        return source_times(
            Path(request["folder"]), request["clicks"], request["rounds"], request["seed"]
        )

    return {"times": times}


if __name__ == "__main__":
    serve(make)
