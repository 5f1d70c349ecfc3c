"""Measure how soon drift is found, and how often it is found where there is none.

One shop is watched by the real sensors for a month without drift, and once more with all visitors'
interests changed on a known day. More months are judged by the monitor's functions alone.
``watched_shop`` says what the scores are. Last, a public log that no simulator wrote is judged: its
days do drift, so that its alarms are shown and have no bar.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from recsys_assets.bench.harness.part import BenchFailed, run_part
from recsys_assets.bench.loop import public_log
from recsys_assets.bench.loop.months import judge_month
from recsys_assets.bench.shops.shop import ShopSkipped
from recsys_assets.lib.drift import quality
from recsys_assets.lib.monitor.rolling import Minimum
from recsys_assets.lib.simulator import answers
from recsys_assets.lib.simulator.catalogue import synthetic_catalogue
from recsys_assets.lib.simulator.exposures import calibrated
from recsys_assets.lib.simulator.population import make_truth
from recsys_assets.settings import Settings

Say = Callable[[str], None]

BARS = {"days_to_find": 2, "false_alarms": 0}
START = date(2026, 3, 2)
DAYS, SHIFT, SEEDS = 30, 15, 10
ANSWERS, USERS, ITEMS = 400, 2_000, 300


def measure(
    settings: Settings,
    scratch: Path,
    say: Say,
    days: int = DAYS,
    shift: int = SHIFT,
    seeds: int = SEEDS,
) -> dict[str, Any]:
    """Watch simulated shops with drift and without.

    Args:
        settings: of the home; only its limits of drift count, and its downloads.
        scratch: for the bench's own homes.
        say: receives a line per step.
        days: on which a release answers, per month.
        shift: number of the day on which interests change, from 1.
        seeds: months without the graph.

    Returns:
        ``days_to_find``: days of answers from the change to the first alarm, that of the change
        included; ``false_alarms``: days with an alarm in all months without a change; ``months``
        without a change; ``judged`` days in them; ``asked``: job → runs that the sensor asked for
        after the change; figures of the public log.

    Raises:
        BenchFailed: the change was not found, or a run failed.
    """
    steady = _watched(settings, scratch / "steady", days, None)
    alarms, judged = len(steady["alarms"]), steady["judged"]
    say(f"{judged} of {days} days were judged without a change: {alarms} alarms")
    changed = _watched(settings, scratch / "changed", days, shift)
    found = [int(day) for day in changed["alarms"]]
    alarms += sum(day < shift for day in found)
    after = [day for day in found if day >= shift]
    if not after:
        raise BenchFailed(f"the change on day {shift} of {days} was not found")
    say(
        f"the change on day {shift} was found on day {after[0]}: {changed['alarms'][str(after[0])]}"
    )
    for seed in range(seeds):
        month = _month(settings, scratch / f"month-{seed}", days, seed)
        judged += sum(one is not None for one in month.values())
        alarms += sum(bool(one) for one in month.values())
    say(f"{seeds} more months were judged: {alarms} alarms in all")
    return {
        "days_to_find": after[0] - shift + 1,
        "false_alarms": alarms,
        "months": 1 + seeds,
        "judged": judged,
        "asked": dict(Counter(one["job"] for one in changed["asked"])),
        **_public(settings, scratch, say),
    }


def limits(settings: Settings) -> tuple[Minimum, dict[str, Any]]:
    """Return the smallest windows and the tolerances of the settings."""
    return Minimum(
        rows=settings.drift_min_rows,
        positives=settings.drift_min_clicks,
        days=settings.drift_days,
        reference_days=settings.drift_reference_days,
    ), quality.tolerances(
        settings.drift_auc,
        settings.drift_auc_floor,
        settings.drift_ndcg,
        math.log(settings.drift_calibration),
    )


def _watched(settings: Settings, home: Path, days: int, shift: int | None) -> dict[str, Any]:
    """Watch one shop in a process and a home of its own."""
    home.mkdir()
    own = settings.model_copy(
        update={
            "home": home,
            "artifacts_uri": None,
            "landing_uri": None,
            "start_day": START,
            "time_zone": None,
            "look_back_days": 7,
            "served_log": "on",
        }
    )
    request = {"days": days, "shift": shift, "answers": ANSWERS, "seed": settings.seed}
    return run_part("recsys_assets.bench.loop.watched_shop", request, home, own).result


def _month(settings: Settings, folder: Path, days: int, seed: int) -> dict[str, list[str] | None]:
    """Judge a month without a change."""
    names = [(START + timedelta(days=number)).isoformat() for number in range(days)]
    truth = make_truth(synthetic_catalogue(ITEMS, seed), USERS, seed, names[0])
    world = answers.steady(calibrated(truth, names[0]))
    model = answers.taste_model(world, names[0])
    return judge_month(folder, world, model, names, ANSWERS, *limits(settings))


def _public(settings: Settings, scratch: Path, say: Say) -> dict[str, Any]:
    try:
        figures = public_log.judge(
            settings.home / "bench" / "downloads", scratch, *limits(settings)
        )
    except ShopSkipped as skipped:
        say(f"MovieLens is left out: {skipped}")
        return {"movielens": f"left out: {skipped}"}
    say(f"MovieLens: {figures}")
    return {f"movielens_{name}": value for name, value in figures.items()}
