"""Measure whether a shop lives by its schedules alone, one day after the other.

The process of ``days_process`` does the work: it has a home of its own, whose settings it reads
from its environment as every process of the platform does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from recsys_assets.bench.harness.part import run_part
from recsys_assets.operations import own_home
from recsys_assets.settings import Settings

Say = Callable[[str], None]

#: Days that the clock moves through. The first is a Monday, and clocks go forward on the 35th day.
DAYS, START, ZONE = 30, date(2025, 2, 24), "Europe/Berlin"
MODULE = "recsys_assets.bench.loop.days_process"
#: Every day is served. A training that its gate keeps back is a failed run, and no fault.
BARS = {"not_served": 0}


def measure(settings: Settings, scratch: Path, say: Say, days: int = DAYS) -> dict[str, Any]:
    """Let a tiny shop live by its schedules and the sensor ``passed_release``.

    The shop is that of ``growing_shop``: its visitors are simulated, its days come by ``recsys
    ingest``, and every fifth day brings new products.

    Args:
        settings: of the real home, which gives the seed and the training environment.
        scratch: for the shop's home.
        say: receives a line per step.
        days: that it lives.

    Returns:
        ``days``; ``served``, those after whose ticks every visitor who was asked for got a full
        list of a release that had learnt the newest day; ``not_served``, the others; ``late``, of
        the served days those whose release is a day or more behind; ``runs`` by job and
        ``failed_runs``; ``launched`` products; ``lacking``, the days on whose morning the release
        did not know every product of the days before; ``launched_shown``, how many of the launched
        were in a list that was asked for; ``disk_ratio``, the bytes of the home after the last day
        over those after the first; ``seconds``.

    Raises:
        BenchFailed: the first release was not built, or a part did not start.
    """
    home = scratch / "home"
    own = own_home.own_settings(
        settings,
        home,
        artifacts_uri=None,
        landing_uri=None,
        feast_offline_uri=None,
        catalogue=None,
        scale="tiny",
        start_day=START,
        time_zone=ZONE,
        triton_models="fused",
    )
    log = home / "logs" / "days.log"
    say(f"a tiny shop lives {days} days; {log} grows by a line per day")
    figures = run_part(MODULE, {"days": days, "shop": str(scratch / "shop")}, scratch, own).result
    return {name: value for name, value in figures.items() if name != "peak_bytes"}
