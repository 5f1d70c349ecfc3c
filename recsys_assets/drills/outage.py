"""Drill: kill Valkey under load (must-survive 6)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from recsys_assets.bench.harness.requests import Request
from recsys_assets.drills.figures import Bar, normal_again, share
from recsys_assets.drills.home import Load, Say, parts_again, process, require_running
from recsys_assets.operations import services
from recsys_assets.settings import Settings

#: Seconds of load before the kill and after the restart.
BEFORE, AFTER = 15.0, 20.0
MOST_P99_MS, MOST_SECONDS = 100.0, 5.0


@dataclass(frozen=True)
class Timing:
    """Seconds of load before, without and after Valkey."""

    seconds: float
    before: float = BEFORE
    after: float = AFTER


def outage(
    settings: Settings, requests: list[Request], timing: Timing, rate: float, say: Say
) -> tuple[dict[str, Any], list[Bar]]:
    """Kill Valkey under load, start it again, and return figures and bars."""
    require_running(settings)
    total = timing.before + timing.seconds + timing.after
    with Load(settings, requests) as load, parts_again(settings, say):
        load.run(min(timing.before, 5.0), rate)  # warm
        running = load.start(total, rate)
        running.wait_until(running.begin + timing.before)
        say(f"Valkey is killed for {timing.seconds:g} s, at {rate:g} requests/s")
        process(settings, "valkey").kill()
        killed = time.monotonic()
        running.wait_until(killed + timing.seconds)
        before_return = time.monotonic()
        services.up(settings, only=["valkey"], progress=say)
        returned = time.monotonic()
        answers = running.answers()
    parts = {
        "before": answers.between(running.begin, killed),
        "during": answers.between(killed, before_return),
        "after": answers.between(returned, running.end),
    }
    figures: dict[str, Any] = {name: part.summary() for name, part in parts.items()}
    figures |= {
        "all": answers.summary(),
        "rate": rate,
        "seconds": timing.seconds,
        "seconds_until_normal": normal_again(answers, returned),
    }
    without = answers.where((answers.sent > killed) & (answers.done < before_return))
    everything = figures["all"]
    return figures, [
        Bar("requests", everything["requests"]),
        Bar("answers other than 200", everything["not_200"], most=0),
        Bar("lists that are not full", everything["short_lists"], most=0),
        Bar("degraded while Valkey is away", share(without.degraded, without.answered), least=1),
        Bar("p99 before", figures["before"]["p99_ms"], unit="ms"),
        Bar("p50 while Valkey is away", figures["during"]["p50_ms"], unit="ms"),
        Bar("p99 while Valkey is away", figures["during"]["p99_ms"], most=MOST_P99_MS, unit="ms"),
        Bar("p99 after", figures["after"]["p99_ms"], unit="ms"),
        Bar(
            "until normal after its return",
            figures["seconds_until_normal"],
            most=MOST_SECONDS,
            unit="s",
        ),
    ]
