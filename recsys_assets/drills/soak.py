"""Load for an hour: memory and latency stay what they are (must-survive 21)."""

from __future__ import annotations

import time
from typing import Any

from recsys_assets.bench.harness.requests import Request
from recsys_assets.drills.figures import Answers, Bar, growth, rounded, trend
from recsys_assets.drills.home import PARTS, Load, Say, memory, require_running
from recsys_assets.settings import Settings

MOST_GROWTH = 0.05
#: Load before anything counts, as a share of the whole and at most so many seconds: caches and
#: pools fill.
WARM_SHARE, WARM_SECONDS = 0.1, 300.0
#: Figures are of a minute, or of less where a soak is short: a trend needs some of them.
WINDOW, LEAST_WINDOWS = 60.0, 12


def soak(
    settings: Settings, requests: list[Request], seconds: float, rate: float, say: Say
) -> tuple[dict[str, Any], list[Bar]]:
    """Steady load; memory and p50 of each window. Growth of memory: from the first windows' median
    to the last ones'.
    """
    require_running(settings)
    window = min(WINDOW, seconds / LEAST_WINDOWS)
    windows: list[dict[str, Any]] = []
    parts: list[Answers] = []
    with Load(settings, requests) as load:
        load.run(min(WARM_SHARE * seconds, WARM_SECONDS), rate)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            answers = load.run(window, rate)
            parts.append(answers)
            windows.append(
                {
                    "at": round(time.monotonic() - began - window / 2, 1),
                    **answers.summary(),
                    "memory_mib": memory(settings),
                }
            )
            if len(windows) % 10 == 0:
                say(
                    f"{(time.monotonic() - began) / 60:.0f} min: p50 {windows[-1]['p50_ms']} ms, "
                    f"memory {windows[-1]['memory_mib']}"
                )
    figures, bars = judge(windows)
    return {**figures, "rate": rate, "seconds": seconds, "windows": windows}, bars


def judge(windows: list[dict[str, Any]]) -> tuple[dict[str, Any], list[Bar]]:
    """Figures and bars of a soak's windows."""
    timed = [one for one in windows if one["p50_ms"] is not None]
    grown = {
        part: rounded(growth([one["memory_mib"][part] for one in windows]), 4) for part in PARTS
    }
    line = trend([one["at"] for one in timed], [one["p50_ms"] for one in timed])
    requests, failed = (sum(one[name] for one in windows) for name in ("requests", "not_200"))
    short = sum(one["short_lists"] for one in windows)
    figures = {
        "requests": requests,
        "not_200": failed,
        "short_lists": short,
        "memory_growth": grown,
        "p50_growth_per_hour": rounded(line.per_hour, 4),
        "p50_growth_interval": [rounded(line.low, 4), rounded(line.high, 4)],
    }
    return figures, [
        Bar("requests", requests),
        Bar("answers other than 200", failed, most=0),
        Bar("lists that are not full", short, most=0),
        *(Bar(f"memory of {part}, growth", grown[part], most=MOST_GROWTH) for part in PARTS),
        Bar("p50, growth an hour", figures["p50_growth_per_hour"]),
        Bar("p50, lower end of its 95 % interval", figures["p50_growth_interval"][0], most=0.0),
        Bar("p50, upper end", figures["p50_growth_interval"][1]),
    ]
