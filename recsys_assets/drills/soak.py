"""Drill: steady load for an hour (must-survive 21).

Memory and latency must not grow.
"""

from __future__ import annotations

import time
from typing import Any

from recsys_assets.bench.harness.requests import Request
from recsys_assets.drills.figures import AnswerSummary, Bar, growth, rounded, trend
from recsys_assets.drills.home import PARTS, Load, Say, memory, require_running
from recsys_assets.settings import Settings

MOST_GROWTH = 0.05
#: Warm-up as a share of the whole, and its largest seconds: caches and pools fill.
WARM_SHARE, WARM_SECONDS = 0.1, 300.0
#: Seconds per window, and the least number of windows: a short soak has shorter windows.
WINDOW, LEAST_WINDOWS = 60.0, 12


class SoakWindow(AnswerSummary):
    """Figures of one window; ``at`` is its middle in seconds."""

    at: float
    memory_mib: dict[str, float]


def soak(
    settings: Settings, requests: list[Request], seconds: float, rate: float, say: Say
) -> tuple[dict[str, Any], list[Bar]]:
    """Send steady load and return figures and bars of memory and p50 per window.

    The growth of memory is from the first windows' median to the last windows'.
    """
    require_running(settings)
    window = min(WINDOW, seconds / LEAST_WINDOWS)
    windows: list[SoakWindow] = []
    with Load(settings, requests) as load:
        load.run(min(WARM_SHARE * seconds, WARM_SECONDS), rate)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            answers = load.run(window, rate)
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


def judge(windows: list[SoakWindow]) -> tuple[dict[str, Any], list[Bar]]:
    """Return figures and bars of a soak's windows."""
    timed = [(one["at"], one["p50_ms"]) for one in windows if one["p50_ms"] is not None]
    grown = {
        part: rounded(growth([one["memory_mib"][part] for one in windows]), 4) for part in PARTS
    }
    line = trend([at for at, _ in timed], [p50 for _, p50 in timed])
    requests = sum(one["requests"] for one in windows)
    failed = sum(one["not_200"] for one in windows)
    short = sum(one["short_lists"] for one in windows)
    figures: dict[str, Any] = {
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
