"""Part: run the compiled transform on the training days, Parquet to Parquet."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import polars as pl

from recsys_assets import columns as c
from recsys_assets.bench.harness.part import main
from recsys_assets.lib.features.batch_transform import BatchTransform

WARM_UP_ROWS = 1_000
READ = tuple(name for name in c.INTERACTION_FEATURES if name not in (c.EVENT_ID, c.CLICK))


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Transform the files one by one and measure it.

    Args:
        request: ``transforms`` (transforms.json), ``files`` (Parquet, in order), ``target`` (a
            folder to write to).
    """
    transform = BatchTransform(json.loads(Path(request["transforms"]).read_text()))
    files, target = [Path(name) for name in request["files"]], Path(request["target"])
    target.mkdir(parents=True)
    transform.transform_frame(pl.read_parquet(files[0], n_rows=WARM_UP_ROWS, columns=list(READ)))
    rows, started = 0, time.perf_counter()
    for number, path in enumerate(files):
        frame = transform.transform_frame(pl.read_parquet(path, columns=list(READ)))
        frame.write_parquet(target / f"part_{number:04d}.parquet")
        rows += frame.height
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "rows": rows, "bytes": sum(path.stat().st_size for path in files)}


if __name__ == "__main__":
    main(body)
