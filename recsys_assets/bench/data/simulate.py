"""Part: simulate every day of a scale into an empty landing zone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from recsys_assets import partitions
from recsys_assets.bench.harness.part import main
from recsys_assets.lib.simulator import shop
from recsys_assets.settings import get_settings


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Simulate every day of the settings and measure it; the request is empty."""
    settings = get_settings()
    started = time.perf_counter()
    summary = shop.simulate(
        Path(settings.landing),
        settings.scale,
        partitions.history_days(settings),
        settings.seed,
        settings.catalogue,
    )
    seconds = time.perf_counter() - started
    size = sum(path.stat().st_size for path in Path(settings.landing).rglob("*.parquet"))
    return {
        "seconds": seconds,
        "rows": summary["rows"],
        "users": summary["users"],
        "items": summary["items"],
        "bytes": size,
    }


if __name__ == "__main__":
    main(body)
