"""Part: read a large log with our reader and with Polars' own, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.bench.files.judge import NOW
from recsys_assets.bench.harness.part import BenchFailed, main
from recsys_assets.lib.own_data.bring import Request, ingest
from recsys_assets.lib.own_data.mapping import LogRules
from recsys_assets.lib.own_data.sources import read_batches

_PART = 1_000_000
_SECONDS = 14 * 86_400
_USERS, _ITEMS = 300_000, 20_000
_WORDS = ("view", "view", "view", "addtocart", "transaction")


def write_log(path: Path, rows: int) -> None:
    """Write a CSV log of two weeks, in the order of time."""
    random = np.random.default_rng(0)
    with path.open("wb") as file:
        for begin in range(0, rows, _PART):
            n = min(_PART, rows - begin)
            moments = NOW - _SECONDS + (np.arange(begin, begin + n) * (_SECONDS - 1) // rows)
            frame = pl.DataFrame(
                {
                    "user_id": random.integers(_USERS, size=n),
                    "item_id": random.integers(_ITEMS, size=n),
                    "timestamp": pl.from_epoch(pl.Series(moments)).dt.strftime("%Y-%m-%d %H:%M:%S"),
                    "event_type": pl.Series(_WORDS).gather(random.integers(len(_WORDS), size=n)),
                }
            ).with_columns(pl.format("u{}", "user_id"), pl.format("sku-{}", "item_id"))
            frame.write_csv(file, include_header=begin == 0)


def _ours(path: Path) -> int:
    columns = ("user_id", "item_id", "timestamp", "event_type")
    return sum(batch.frame.height for batch in read_batches(path, columns))


def _polars(path: Path) -> int:
    return pl.read_csv(path, infer_schema=False).height


def _rows_per_second(read: Callable[[Path], int], path: Path, rows: int) -> float:
    began = time.perf_counter()
    if (found := read(path)) != rows:
        raise BenchFailed(f"{read.__name__} read {found} of {rows} rows")
    return rows / (time.perf_counter() - began)


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Measure ``rounds`` readings of ``rows`` rows in ``folder``, then one whole ingest."""
    folder, rows = Path(request["folder"]), request["rows"]
    path = folder / "log.csv"
    write_log(path, rows)
    found: dict[str, list[float]] = {"reader": [], "polars": []}
    for _ in range(request["rounds"]):
        for name, read in (("reader", _ours), ("polars", _polars)):
            found[name].append(_rows_per_second(read, path, rows))
    began = time.perf_counter()
    report = ingest(folder / "landing", Request([str(path)], LogRules()), now=NOW, start_day=None)
    seconds = time.perf_counter() - began
    log = report["sources"][0]
    if log["accepted"] + log["rejected"].get("duplicate event", 0) != rows:
        raise BenchFailed(
            f"the ingest accepted {log['accepted']} of {rows} rows: {log['rejected']}"
        )
    return {
        **{name: round(statistics.median(each)) for name, each in found.items()},
        "ingest": round(rows / seconds),
        "bytes": path.stat().st_size,
    }


if __name__ == "__main__":
    main(body)
