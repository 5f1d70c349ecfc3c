"""Measure whether the models read the same in serving as in training.

A tiny shop whose newest day is yesterday is trained and served. Visitors ask and click, as a
browser would, at the real time of day. Then the day is ingested from what the consumer landed, and
``monitor/skew`` compares what each answer read with the features of training. Nothing is simulated
after the first release but who clicks what.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from recsys_assets.bench.harness.part import run_part
from recsys_assets.local_time import day_of
from recsys_assets.operations import own_home
from recsys_assets.partitions import SIMULATED_DAYS
from recsys_assets.settings import Settings

Say = Callable[[str], None]

MODULE, ZONE = "recsys_assets.bench.loop.skew_process", "UTC"
VISITORS, ROUNDS = 60, 6
#: No feature differs, and every answer to a known visitor is compared.
BARS = {"skewed": 0, "not_compared": 0}


def measure(
    settings: Settings, scratch: Path, say: Say, visitors: int = VISITORS, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Serve a tiny shop, let visitors ask and click, and compare.

    Args:
        settings: of the real home, which gives the seed and the training environment.
        scratch: for the shop's home.
        say: receives a line per step.
        visitors: that ask and click.
        rounds: answers of each.

    Returns:
        ``answers`` that were given; ``compared`` ones, of ``rows`` shown items; ``not_compared``,
        the others; ``skewed``, the number of features that surely differ, and ``shares``, those
        that differ in any answer with their share of answers.

    Raises:
        BenchFailed: the release was not built, or a part did not start.
    """
    today = date.fromisoformat(day_of(int(time.time()), ZONE))
    own = own_home.own_settings(
        settings,
        scratch / "home",
        artifacts_uri=None,
        landing_uri=None,
        feast_offline_uri=None,
        catalogue=None,
        scale="tiny",
        start_day=today - timedelta(days=SIMULATED_DAYS),
        time_zone=ZONE,
        triton_models="fused",
        served_log="on",
        served_features_share=1.0,
        served_impressions="both",
    )
    say(f"{visitors} visitors of a tiny shop ask {rounds} times each")
    asked = {"today": today.isoformat(), "visitors": visitors, "rounds": rounds}
    return run_part(MODULE, asked, scratch, own).result
