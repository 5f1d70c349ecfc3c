"""Run the whole graph on this machine, from the simulated shop to a release."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from recsys_assets import partitions
from recsys_assets.files import write_json
from recsys_assets.operations import usage
from recsys_assets.operations.jobs import Clock, PipelineFailed, run_jobs
from recsys_assets.settings import Settings


def simulate(settings: Settings, clock: Clock | None = None) -> None:
    """Fill the landing zone with the simulated shop's history.

    An ingested landing zone is left unchanged.
    """
    from recsys_assets.lib.landing import zone
    from recsys_assets.lib.simulator import shop

    clock = clock or Clock()
    if zone.was_ingested(settings.landing):
        clock.say(
            f"landing zone: {settings.landing} was ingested (recsys ingest), so it is not simulated"
        )
        return
    summary = shop.simulate(
        Path(settings.landing),
        settings.scale,
        partitions.history_days(settings),
        settings.seed,
        settings.catalogue,
        progress=lambda what, done, total: clock.say(f"simulate {done}/{total}: {what}"),
        zone=partitions.time_zone(settings),
    )
    clock.say(f"landing zone: {len(summary['written'])} parts written, {len(summary['kept'])} kept")


def history(settings: Settings) -> list[str]:
    """Return the days to materialise.

    They are the simulator's fortnight, or every day of the calendar up to the last closed day of an
    ingested log. A day without rows is a day.

    Raises:
        PipelineFailed: an ingested log has no closed day.
    """
    from recsys_assets.lib.landing import zone
    from recsys_assets.lib.landing.days import landed_days

    if not zone.was_ingested(settings.landing):
        return partitions.history_days(settings)
    start, today = partitions.calendar_start(settings), partitions.today(settings).isoformat()
    closed = [day for day in landed_days(settings.landing) if start.isoformat() <= day < today]
    if not closed:
        raise PipelineFailed(
            f"the ingested log has no closed day from {start} on: ingest earlier days, or wait "
            "until today is over"
        )
    return partitions.days_between(start, date.fromisoformat(closed[-1]))


def default_as_of(settings: Settings, days: Sequence[str]) -> str:
    """Return the default as-of day.

    For the simulated history it is the first with a whole window, so that days follow to fine-tune
    on. For an ingested log it is the newest day.
    """
    from recsys_assets.lib.landing import zone

    first = partitions.first_as_of(settings)
    simulated = not zone.was_ingested(settings.landing)
    return first if simulated and first in days else days[-1]


def full_graph(days: Sequence[str], as_of: str) -> list[tuple[str, str | None]]:
    """Return every (job, partition) of the full graph, in the order of the data flow."""
    return [
        ("catalogue", None),
        *(("daily_ingest", day) for day in days),
        ("feature_store_refresh", days[-1]),
        ("full_training", as_of),
    ]


def materialize(settings: Settings, as_of: str | None = None, clock: Clock | None = None) -> None:
    """Materialise landing zone, daily partitions, feature store, models and release."""
    clock = clock or Clock()
    simulate(settings, clock)
    days = history(settings)
    run_jobs(settings, full_graph(days, as_of or default_as_of(settings, days)), clock)
    write_json(
        settings.home / "materialize.json",
        {"scale": settings.scale, "seconds": clock.seconds, "peak_gib": usage.peaks(settings)},
    )
