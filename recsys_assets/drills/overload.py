"""Drill: send three times the load that the home can serve (must-survive 24)."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys_assets.bench.harness.requests import Request
from recsys_assets.drills.figures import Answers, Bar, rounded
from recsys_assets.drills.home import CLIENTS, DrillFailed, Load, Say, require_running
from recsys_assets.settings import Settings

TIMES, LEAST_GOODPUT = 3.0, 0.8
#: Seconds over which the capacity is measured, after a warm-up of the same length.
MEASURED = 10.0
#: Connections per client process: enough that no request waits for one.
CONNECTIONS = 64


def goodput(answers: Answers, seconds: float) -> float:
    """Return full answers per second."""
    return float(answers.full.sum()) / seconds


def overload(
    settings: Settings, requests: list[Request], seconds: float, say: Say
) -> tuple[dict[str, Any], list[Bar]]:
    """Measure the capacity, send three times as much, and return figures and bars.

    The capacity is measured with clients that wait for their answer. They are as many as the
    gateway ranks at once, and at least two per process.

    Raises:
        DrillFailed: the gateway gave no full answer.
    """
    require_running(settings)
    with Load(
        settings, requests, max(2, settings.gateway_in_flight // CLIENTS), addresses=True
    ) as load:
        load.run(MEASURED)
        measured = load.run(MEASURED)
    capacity = goodput(measured, MEASURED)
    say(f"capacity {capacity:,.0f} requests/s; {TIMES * capacity:,.0f} are sent for {seconds:g} s")
    if not capacity:
        raise DrillFailed(
            f"the gateway at {settings.gateway_url} gave no full answer in {MEASURED:g} s: see "
            "its log"
        )
    with Load(settings, requests, CONNECTIONS, addresses=True) as load:
        answers = load.run(seconds, TIMES * capacity)
    # answers that come after the last request are no goodput of these seconds
    last = float(answers.done[answers.answered].max(initial=0))
    summary = answers.summary()
    served = goodput(answers, max(seconds, last - float(answers.meant[0])))
    failures = int((~answers.answered & (answers.status != 429)).sum()) + summary["short_lists"]
    late = answers.sent - answers.meant
    figures: dict[str, Any] = {
        **summary,
        "capacity": rounded(capacity, 1),
        "offered": rounded(len(answers) / seconds, 1),
        "goodput": rounded(served, 1),
        "seconds": seconds,
        "p99_sent_late_ms": rounded(float(np.percentile(late, 99)) * 1_000),
        "capacity_p50_ms": rounded(measured.percentile(50)),
        "capacity_p99_ms": rounded(measured.percentile(99)),
    }
    return figures, [
        Bar("requests/s that it serves", figures["capacity"]),
        Bar("requests/s offered", figures["offered"]),
        Bar("full answers/s under three times the load", figures["goodput"]),
        Bar("goodput", rounded(served / capacity), least=LEAST_GOODPUT),
        Bar("turned away with 429", rounded(summary["429"] / len(answers))),
        Bar("neither 429 nor a full answer", failures, most=0),
        Bar("p50 of the answered", summary["p50_ms"], unit="ms"),
        Bar("p99 of the answered", summary["p99_ms"], unit="ms"),
    ]
