"""Drill: send SIGTERM to each serving process under load (must-survive 23)."""

from __future__ import annotations

import signal
import time
from typing import Any

import psutil

from recsys_assets.bench.harness.requests import Request
from recsys_assets.drills.figures import Answers, AnswerSummary, Bar
from recsys_assets.drills.home import DrillFailed, Load, Say, parts_again, process, require_running
from recsys_assets.operations import services
from recsys_assets.settings import Settings

ENDED = ("gateway", "triton", "consumer")
#: Seconds of load before each SIGTERM, and seconds until the process must have ended.
BEFORE, LIMIT = 5.0, 60.0


class Ending(AnswerSummary):
    """Figures of one part's end under load."""

    in_flight: int
    in_flight_failed: int
    seconds_to_end: float


def in_flight(answers: Answers, moment: float) -> Answers:
    """Return the requests that were sent before a moment and answered after it."""
    return answers.where((answers.sent < moment) & (answers.done > moment))


def restart(
    settings: Settings, requests: list[Request], rate: float, say: Say
) -> tuple[dict[str, Any], list[Bar]]:
    """End each part under load, start it again, and return figures and bars.

    While the gateway of this home is away, nothing listens. Requests without a connection are
    counted apart from those that were taken. In a cluster they reach another replica.
    """
    require_running(settings)
    figures: dict[str, Any] = {"rate": rate}
    bars: list[Bar] = []
    with Load(settings, requests) as load, parts_again(settings, say):
        load.run(2.0, rate)
        for part in ENDED:
            found = _end(settings, part, load, rate, say)
            figures[part] = found
            bars += [
                Bar(f"{part}: in flight at SIGTERM", found["in_flight"]),
                Bar(
                    f"{part}: of these not answered with a full list",
                    found["in_flight_failed"],
                    most=0,
                ),
                Bar(f"{part}: requests that were taken and not answered", found["cut"], most=0),
                Bar(f"{part}: exit after", found["seconds_to_end"], unit="s"),
            ]
            if part != "gateway":
                bars.append(Bar(f"{part}: answers other than 200", found["not_200"], most=0))
    return figures, bars


def _end(settings: Settings, part: str, load: Load, rate: float, say: Say) -> Ending:
    """Send SIGTERM after BEFORE seconds of load, and start the part again."""
    running = load.start(3 * BEFORE, rate)
    running.wait_until(running.begin + BEFORE)
    ending = process(settings, part)
    say(f"{part}: SIGTERM")
    moment = time.monotonic()
    ending.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs([ending], timeout=LIMIT)
    if alive:
        raise DrillFailed(
            f"{part} has not ended {LIMIT:.0f} s after SIGTERM; its log is "
            f"{settings.home / 'logs' / f'{part}.log'}"
        )
    took = time.monotonic() - moment
    services.up(settings, only=[part], progress=say)
    answers = running.answers()
    held = in_flight(answers, moment)
    return {
        **answers.summary(),
        "in_flight": len(held),
        "in_flight_failed": int((~held.full).sum()),
        "seconds_to_end": round(took, 2),
    }
