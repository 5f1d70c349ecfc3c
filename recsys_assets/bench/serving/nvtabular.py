"""Worker, in the training environment: NVTabular's transforms of one request.

The fitted user, context and item workflows run one after the other, as in the reference. The data
frames are made in advance and not counted. The reference used Merlin Systems' WorkflowRunner, which
this environment does not have. NVTabular itself offers two ways (``bench/training/request.py``);
``trial`` times both, and each ``run`` receives the faster one. The affinities of a visitor to each
candidate, which the reference did not have, are left out.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recsys_assets import columns as c
from recsys_assets.bench.harness.worker import Command, drive, serve

TRIAL = 15


def make(request: dict[str, Any]) -> dict[str, Command]:
    """Load the workflows and return the commands ``trial`` and ``run``.

    Args:
        request: ``workflows`` (folder), ``raw`` (file with the answer of the floor's ``raw``),
            ``items`` (file with the answer of Feast's ``items``).
    """
    # Merlin and dask warn on every import and call; errors still raise
    warnings.filterwarnings("ignore")
    from recsys_assets.training.features import tables

    tables.without_tensorflow()
    import pandas as pd
    from merlin.io import Dataset

    from recsys_assets.training.features import workflows

    parts = {
        "nvt_user": workflows.USER,
        "nvt_context": workflows.CONTEXT,
        "nvt_items": workflows.ITEM,
    }
    loaded = {
        part: workflows.load(Path(request["workflows"]), name) for part, name in parts.items()
    }
    frames = _frames(
        json.loads(Path(request["raw"]).read_text()),
        json.loads(Path(request["items"]).read_text()),
        pd,
    )

    def as_frame(part: str, frame: Any) -> Any:
        return loaded[part].transform(frame)

    def as_dataset(part: str, frame: Any) -> Any:
        return (
            loaded[part]
            .transform(Dataset(frame, cpu=True))
            .to_ddf()
            .compute(scheduler="synchronous")
        )

    def timed(way: Callable[[str, Any], Any], number: int) -> dict[str, float]:
        seconds = {}
        for part in parts:
            started = time.perf_counter()
            way(part, frames[number][part])
            seconds[part] = time.perf_counter() - started
        return seconds

    ways = {"frame": as_frame, "dataset": as_dataset}
    for way in ways.values():
        timed(way, 0)  # reads the files of the vocabularies

    def trial(order: dict[str, Any]) -> dict[str, float]:
        """Return the median seconds of a request in each way."""
        return {
            name: statistics.median(
                sum(timed(way, number % len(frames)).values()) for number in range(TRIAL)
            )
            for name, way in ways.items()
        }

    return {
        "trial": trial,
        "run": lambda order: drive(
            lambda number: timed(ways[order["way"]], number), len(frames), order
        ),
    }


def _frames(
    asked: list[dict[str, Any]], items: dict[str, list[Any]], pd: Any
) -> list[dict[str, Any]]:
    """Return the three raw data frames of each request, in the training types."""
    catalogue = pd.DataFrame(items).set_index(c.ITEM_ID, drop=False)
    catalogue = catalogue.astype({c.PRICE: "float64", c.ITEM_CLICKS: "float32"}).fillna(
        {c.ITEM_CLICKS: 0}
    )
    numbers = dict.fromkeys(
        (c.AGE, c.CLICKS_24H, c.HOURS_SINCE_CLICK, c.CLICKS_LOOK_BACK), "float32"
    )
    return [
        {
            "nvt_user": pd.DataFrame([one["user"]]).astype(numbers),
            "nvt_context": pd.DataFrame([one["context"]]).astype({c.TIMESTAMP: "int64"}),
            "nvt_items": catalogue.loc[one["items"]].reset_index(drop=True),
        }
        for one in asked
    ]


if __name__ == "__main__":
    serve(make)
