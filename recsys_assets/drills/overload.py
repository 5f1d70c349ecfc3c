"""Three times the load that can be served (must-survive 24)."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys_assets.bench.harness.requests import Request
from recsys_assets.drills.figures import Answers, Bar, rounded
from recsys_assets.drills.home import CLIENTS, DrillFailed, Load, Say, require_running
from recsys_assets.settings import Settings

TIMES, LEAST_GOODPUT = 3.0, 0.8
#: Seconds of the measurement of what can be served, after as many of warming up.
MEASURED = 10.0
#: Connections of a client process: overload needs enough that nobody waits for one.
CONNECTIONS = 64


def goodput(answers: Answers, seconds: float) -> float:
    """Full answers a second."""
    return float(answers.full.sum()) / seconds


def overload(
    settings: Settings, requests: list[Request], seconds: float, say: Say
) -> tuple[dict[str, Any], list[Bar]]:
    """Measure what can be served, then offer three times as much; figures and bars.

    What can be served is what as many clients get who each wait for their answer as the gateway
    ranks at once, two for each process at least.
    """
    require_running(settings)
    with Load(
        settings, requests, max(2, settings.gateway_in_flight // CLIENTS), addresses=True
    ) as load:
        load.run(MEASURED)
        measured = load.run(MEASURED)
    capacity = goodput(measured, MEASURED)
    say(
        f"it serves {capacity:,.0f} requests/s; {TIMES * capacity:,.0f} are offered for "
        f"{seconds:g} s"
    )
    if not capacity:
        raise DrillFailed(
            f"the gateway at {settings.gateway_url} gave no full answer in {MEASURED:g} s: see "
            "its log"
        )
    with Load(settings, requests, CONNECTIONS, addresses=True) as load:
        answers = load.run(seconds, TIMES * capacity)
    # what was still owed when the last request came is answered later, and is not goodput of these
    # seconds
    last = float(answers.done[answers.answered].max(initial=0))
    told, served = answers.summary(), goodput(answers, max(seconds, last - float(answers.meant[0])))
    failures = int((~answers.answered & (answers.status != 429)).sum()) + told["short_lists"]
    late = answers.sent - answers.meant
    figures = {
        **told,
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
        Bar("turned away with 429", rounded(told["429"] / len(answers))),
        Bar("neither 429 nor a full answer", failures, most=0),
        Bar("p50 of the answered", told["p50_ms"], unit="ms"),
        Bar("p99 of the answered", told["p99_ms"], unit="ms"),
    ]
